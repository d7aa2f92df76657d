"""Cut the bundled fonts out of the original Pretendard release. A developer's tool, run by hand; see README.md.

    python resources/fonts/subset.py FOLDER_WITH_PRETENDARD_OTF

The subset is a Modified Version under the SIL Open Font License, whose Reserved Font Name clause forbids the original
name: the result is therefore called "Maru Sans".
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

FAMILY = "Maru Sans"
ORIGINAL = "Pretendard"
WEIGHTS = ("Regular", "SemiBold")
# tnum: tabular digits; case: capital-height brackets; ccmp, kern, mark: correct shaping of what is left.
FEATURES = ("tnum", "case", "ccmp", "kern", "mark", "mkmk", "locl", "zero")


def wanted_characters() -> set[int]:
    """Return the code points kept: Latin, punctuation, arrows, shapes, jamo and the 2,350 syllables of KS X 1001."""
    kept: set[int] = set()
    for first, last in (
        (0x20, 0x7E),  # ASCII
        (0xA0, 0x17F),  # Latin-1 and Latin Extended-A
        (0x2010, 0x2027),  # dashes, quotes, bullets, ellipsis
        (0x2030, 0x203A),  # per mille, primes, angle quotes
        (0x2070, 0x208E),  # superscripts and subscripts
        (0x20A0, 0x20C0),  # currency signs
        (0x2190, 0x21FF),  # arrows
        (0x2200, 0x22FF),  # mathematical operators
        (0x25A0, 0x25FF),  # geometric shapes
        (0x3000, 0x303F),  # CJK punctuation
        (0x3131, 0x318E),  # compatibility jamo
        (0xFF01, 0xFF5E),  # full-width ASCII, as pasted from Korean input methods
    ):
        kept.update(range(first, last + 1))
    kept.update(map(ord, "ΔΣΩαβγδεθλμπρστφω℃№™✓✕⌘⌥⇧⏎⚠"))
    for syllable in range(0xAC00, 0xD7A4):
        # Python composes the other 8,822 syllables from jamo in eight bytes; only the standard's own take two.
        if len(chr(syllable).encode("euc_kr")) == 2:
            kept.add(syllable)
    return kept


def rename(font: TTFont) -> None:
    """Replace the reserved name by ours in every naming table; the copyright and licence records stay."""
    names = font["name"]
    for record in names.names:
        if record.nameID in (0, 7, 13, 14):  # copyright, trademark, licence text, licence address
            continue
        text = record.toUnicode()
        if ORIGINAL in text:
            compact = record.nameID == 6  # PostScript names have no spaces
            names.setName(
                text.replace(ORIGINAL, FAMILY.replace(" ", "") if compact else FAMILY),
                record.nameID,
                record.platformID,
                record.platEncID,
                record.langID,
            )
    cff = font["CFF "].cff
    for top in cff.topDictIndex:
        for key in ("FullName", "FamilyName"):
            if hasattr(top, key):
                setattr(top, key, getattr(top, key).replace(ORIGINAL, FAMILY))
    cff.fontNames = [name.replace(ORIGINAL, FAMILY.replace(" ", "")) for name in cff.fontNames]


def main() -> int:
    """Write the subsets beside this file."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    source, target = Path(sys.argv[1]), Path(__file__).parent
    options = subset.Options(layout_features=list(FEATURES), name_IDs=["*"], notdef_outline=True, hinting=False)
    options.name_languages = [0x409]
    for weight in WEIGHTS:
        font = subset.load_font(str(source / f"{ORIGINAL}-{weight}.otf"), options)
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=wanted_characters())
        cutter.subset(font)
        rename(font)
        subset.save_font(font, str(target / f"MaruSans-{weight}.otf"), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
