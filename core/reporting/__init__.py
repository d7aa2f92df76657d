"""Reports for people: a page that stands alone and the same figures as JSON. Qt-free, any thread."""

from core.reporting.demo_report import (
    Curve,
    DemoReportInput,
    ForecastPairs,
    LossPoint,
    ReportColours,
    ReportPaths,
    VenueComparison,
    write_report,
)

__all__ = [
    "Curve",
    "DemoReportInput",
    "ForecastPairs",
    "LossPoint",
    "ReportColours",
    "ReportPaths",
    "VenueComparison",
    "write_report",
]
