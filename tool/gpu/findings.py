"""The findings of a check, as text and as plain values."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from compat import UserError, text_table

OUTCOME = {True: "ok", False: "WRONG", None: ""}


class Finding(NamedTuple):
    """One line of the page. passed: None if there is no criterion, as for a speed."""

    what: str
    value: str
    passed: Optional[bool] = None


class Part(NamedTuple):
    """The findings of one part of the check, and how long it took."""

    title: str
    findings: List[Finding]
    seconds: float


def findings_of(measure: Callable[[], List[Finding]]) -> List[Finding]:
    """The findings of `measure`; an exception becomes a finding, so that one failure does not hide the other parts."""
    try:
        return measure()
    except UserError as error:
        return [Finding("not possible", str(error))]
    except Exception as error:  # noqa: BLE001  any failure is a finding
        return [Finding(f"failed: {type(error).__name__}", " ".join(str(error).split())[-400:], False)]


def page(parts: Sequence[Part]) -> str:
    """The parts as plain text."""
    return "\n\n".join(f"{part.title} ({part.seconds:.0f} s)\n{_table(part.findings)}" for part in parts)


def _table(findings: Sequence[Finding]) -> str:
    rows = [(OUTCOME[one.passed], one.what, one.value) for one in findings]
    return text_table(("", "what", "found"), rows, left=3)


def as_dict(parts: Sequence[Part]) -> Dict[str, Any]:
    """{title: {"seconds": ..., "findings": [{"what", "value", "passed"}, ...]}}."""
    return {
        part.title: {"seconds": round(part.seconds, 1), "findings": [one._asdict() for one in part.findings]}
        for part in parts
    }


def all_passed(parts: Sequence[Part]) -> bool:
    """Whether nothing was wrong."""
    return all(one.passed is not False for part in parts for one in part.findings)
