"""The report again: its tables, figures and statements beside what is measured here."""

from dverge.reproduction.figures import (
    REPORT_FIGURES,
    FigureAgain,
    reproduce_figures,
)
from dverge.reproduction.learning import (
    Curves,
)
from dverge.reproduction.reproduction import (
    Line,
    Reproduction,
    Spread,
    TableAgain,
    reproduce,
)
from dverge.reproduction.statements import (
    Finding,
    Judgement,
    Outcome,
    Statement,
    source_of,
)
from dverge.reproduction.table_statements import (
    report_statements,
)
from dverge.reproduction.tables import (
    COLUMNS,
    REPORT_TABLES,
    ReportTable,
)
from dverge.reproduction.trained import (
    AUTO_COLUMNS,
    Trained,
    snapshot_epoch,
    trained_as,
)
from dverge.reproduction.verification import (
    Verification,
    verify,
)

__all__ = [
    "AUTO_COLUMNS",
    "COLUMNS",
    "REPORT_FIGURES",
    "REPORT_TABLES",
    "Curves",
    "FigureAgain",
    "Finding",
    "Judgement",
    "Line",
    "Outcome",
    "ReportTable",
    "Reproduction",
    "Spread",
    "Statement",
    "TableAgain",
    "Trained",
    "Verification",
    "report_statements",
    "reproduce",
    "reproduce_figures",
    "snapshot_epoch",
    "source_of",
    "trained_as",
    "verify",
]
