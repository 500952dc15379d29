"""Vivace: real-time streaming video diffusion. Names are loaded on first use, so the import is quick."""

from typing import TYPE_CHECKING, Any

from vivace.core.errors import InputError, VivaceError

if TYPE_CHECKING:
    from vivace.catalog.editor import Editor, LiveStream, StreamSnapshot, open_editor

__version__ = "0.1.0"

_IN_EDITOR = ("Editor", "LiveStream", "StreamSnapshot", "open_editor")

__all__ = ["Editor", "InputError", "LiveStream", "StreamSnapshot", "VivaceError", "open_editor"]


def __getattr__(name: str) -> Any:
    if name in _IN_EDITOR:
        from vivace.catalog import editor

        return getattr(editor, name)
    raise AttributeError(f"module 'vivace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
