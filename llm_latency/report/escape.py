"""Text from outside (names, notes, error messages) made harmless for a terminal, HTML and Markdown; not its layout."""

from __future__ import annotations

import html as _html
import re
import unicodedata

# Control, format (bidirectional overrides, zero-width and tag characters), surrogate, private, line and paragraph
# separators: Unicode's general categories of what a reader cannot see (Unicode Technical Report 36, 3.1).
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
# An underscore inside a word is no emphasis in GitHub's Markdown (GFM 0.29, 6.4), so names stay readable.
_MARKDOWN = re.compile(r"([\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_]))")
# GitHub finds @names, #numbers and addresses after the backslashes are gone; an empty comment keeps them apart.
_LINKING = re.compile(r"@|#|:(?=//)|(?<=www)\.")


def plain(text: object) -> str:
    r"""Write each unseen character as its escape: a terminal shows ESC as \x1b and a line break as \n."""
    return "".join(_visible(character) for character in str(text))


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


def html(text: object) -> str:
    """Escape for an element's text and for a quoted attribute."""
    return _html.escape(plain(text), quote=True)


def markdown(text: object) -> str:
    """Escape for a line or table cell of GitHub's Markdown: no markup, no link, nobody is notified."""
    return _LINKING.sub(r"\g<0><!-- -->", _MARKDOWN.sub(r"\\\1", plain(text)))
