"""Whether OpenCV is there, which some measurements need (the extra `eval`); computes nothing."""

from vivace.core.errors import InputError


def has_opencv() -> bool:
    """Whether it is installed and loads."""
    try:
        import cv2  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def require_opencv(what: str) -> None:
    """Stop here without it; `what` begins the sentence.

    Raises:
        InputError: If OpenCV is not installed.
    """
    if not has_opencv():
        raise InputError(f"{what} needs OpenCV, which is not installed; run: pip install 'vivace[eval]'")
