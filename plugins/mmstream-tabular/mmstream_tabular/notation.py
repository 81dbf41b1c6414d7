"""How numbers are written as text: the decimal sign, the thousands separator, and signs beside them, such as units."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from mmstream.errors import brief

DecimalSign = Literal[".", ","]
ThousandsSign = Literal[",", ".", " ", "'"]

_LIKE = {" ": " \u00a0\u2009\u202f", "'": "'\u2019"}
"""Characters that are read as a blank (blanks of other widths) or as an apostrophe (the curved one)."""
_CODES = (
    "AED AUD BGN BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF IDR ILS INR JPY KRW MXN MYR NOK NZD PHP PLN RMB RON RUB SAR "
    "SEK SGD THB TRY TWD UAH USD VND ZAR"
)
_CURRENCY = rf"[$€£¥₹₩₽₺₫฿]|(?:US|CA|AU|NZ|HK|NT|R)\$|{_CODES.replace(' ', '|')}|kr|zł|Kč|Ft|元|円|원|Fr\.?"
_AMOUNT = r"[+-]?[0-9](?:[0-9.,' \u00a0\u2009\u202f\u2019]*[0-9])?"
_PERCENT = re.compile(rf"{_AMOUNT}\s*[%‰]")
_MONEY = re.compile(rf"[+-]?(?:{_CURRENCY})\s*{_AMOUNT}|{_AMOUNT}\s*(?:{_CURRENCY})")
_CODE = re.compile(r"[+-]?0[0-9]")
_HINTS = (
    (r"[+-]?[0-9]+(?:[_'’\s][0-9]+)+.*", "nothing may come between digits"),
    (r"[+-]?0[xXoObB][0-9a-fA-F]+", "only decimal numbers are read"),
    (r"[+-]?(?i:inf|infinity)", "infinity is not read"),
)
"""Patterns of texts that are not read as a number, and why."""


@dataclasses.dataclass(frozen=True)
class Notation:
    """How numbers are written.

    Attributes:
        decimal: the sign before the fraction.
        thousands: the sign that may stand between groups of three digits before the fraction; None for no sign.
    """

    decimal: DecimalSign = "."
    thousands: ThousandsSign | None = None

    @functools.cached_property
    def _number(self) -> re.Pattern[str]:
        point = re.escape(self.decimal)
        whole = "[0-9]+"
        if self.thousands:
            between = f"[{_LIKE.get(self.thousands, self.thousands)}]"
            whole = f"(?:[1-9][0-9]{{0,2}}(?:{between}[0-9]{{3}})+|[0-9]+)"
        return re.compile(rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?")

    def says(self, text: str) -> bool:
        """Whether a text is a number; Python's `float` accepts more: "1_2", "inf", digits of other scripts."""
        return bool(self._number.fullmatch(text))

    def parsed(self, text: str) -> float:
        """The number in a text.

        >>> Notation(",", ".").parsed("-1.957,75"), Notation(thousands=" ").parsed("1 234.5")
        (-1957.75, 1234.5)

        Raises:
            ValueError: it is not a number.
        """
        if self.says(text):
            for sign in _LIKE.get(self.thousands or "", self.thousands or ""):
                text = text.replace(sign, "")
            return float(text.replace(self.decimal, "."))
        if text.lstrip("+-").lower() == "nan":
            raise ValueError(f"{brief(text)} is not a number; `missing: [{text}]` would make it a missing value")
        hint = self._hint(text)
        raise ValueError(f"expected a number; found {brief(text)}{f' ({hint})' if hint else ''}")

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of a config that select this notation."""
        decimal = {"decimal": self.decimal} if self.decimal != "." else {}
        return {**decimal, **({"thousands": self.thousands} if self.thousands else {})}

    @property
    def in_words(self) -> str:
        """This notation in words that follow the word for the numbers in a note; "" for the usual one."""
        name = {",": "commas", ".": "points", " ": "blanks", "'": "apostrophes"}
        decimal = ["decimal commas"] if self.decimal == "," else []
        thousands = [f"{name[self.thousands]} between thousands"] if self.thousands else []
        return f" with {' and '.join([*decimal, *thousands])}" if decimal or thousands else ""

    def _hint(self, text: str) -> str:
        if kind := signs_in(text):
            return f"{kind} are not read; write the number alone"
        others = [other for other in NOTATIONS if other.says(text)]
        least = [one for one in others if not one.thousands or Notation(one.decimal) not in others]
        told = " or ".join(_as_config(one.parameters) for one in least if one.parameters)
        read = f"; the parameter {told} allows this" if told else ""
        if self.decimal == "." and not self.thousands and re.fullmatch(r"[+-]?[0-9.']+,[0-9,.]+", text):
            return f"numbers have a decimal point and no commas{read}"
        hints = [hint for pattern, hint in _HINTS if re.fullmatch(pattern, text)]
        if not text.isascii() and any(map(str.isdigit, text)):
            hints.append("only the digits 0 to 9 are read")
        if hints:
            return f"{hints[0]}{read}"
        if not others:
            return ""
        thousands = (
            f" and {self.thousands!r} as the thousands separator" if self.thousands else " and no thousands separator"
        )
        return f"the field reads {self.decimal!r} as the decimal separator{thousands}"


NOTATIONS = (
    *(Notation(), Notation(","), Notation(".", ","), Notation(",", ".")),
    *(Notation(".", " "), Notation(",", " "), Notation(".", "'"), Notation(",", "'")),
)
"""Notations that are tried; of two that read equally many texts, the first is taken."""


def notation_of(texts: Sequence[str]) -> Notation | None:
    """The notation that reads the most of some texts; None if two read equally many and disagree on the numbers.

    If each comma stands before three digits, it may be either sign.

    >>> notation_of(["6,7", "1.957,75"]), notation_of(["1,234", "12,345"])
    (Notation(decimal=',', thousands='.'), None)
    """
    if all(map(Notation().says, texts)):
        return Notation()
    counts = {notation: sum(map(notation.says, texts)) for notation in NOTATIONS}
    best = max(NOTATIONS, key=counts.__getitem__)
    return None if best == Notation(",") and counts[Notation(".", ",")] == counts[best] else best


def commas_say_numbers(texts: Sequence[str]) -> bool:
    """Whether the commas in some texts are parts of numbers, so that they separate nothing."""
    with_commas = [text for text in texts if "," in text]
    return any(all(map(notation.says, with_commas)) for notation in NOTATIONS)


def are_codes(texts: Iterable[str]) -> bool:
    """Whether any of the texts is a number with a leading zero, such as "01005", and so probably a code."""
    return any(_CODE.match(text) for text in texts)


def signs_in(text: str) -> str:
    """The signs beside the number in a text; "" if there are none.

    >>> signs_in("5 %"), signs_in("$1,200.50"), signs_in("12 EUR"), signs_in("12")
    ('percent signs', 'currency signs', 'currency signs', '')
    """
    return "percent signs" if _PERCENT.fullmatch(text) else "currency signs" if _MONEY.fullmatch(text) else ""


def _as_config(parameters: dict[str, str]) -> str:
    return "`" + ", ".join(f'{name}: "{value}"' for name, value in parameters.items()) + "`"
