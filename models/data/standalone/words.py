"""Words that people write in tables: for missing values, and for yes and no."""

from __future__ import annotations

# The texts that pandas reads as missing, except the empty one, which is missing without a doubt.
_OF_FLOATS = ("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "NaN", "nan", "-NaN", "-nan")
WORDS = frozenset(("#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "n/a", "NULL", "null", "None", *_OF_FLOATS))

# Words for yes and for no, of one language each.
YES_AND_NO = (
    ("true t yes y on", "false f no n off"),
    ("ja j wahr", "nein n falsch"),
    ("oui o vrai", "non n faux"),
    ("sí si s verdadero", "no n falso"),
    ("sì si s vero", "no n falso"),
    ("sim s verdadeiro", "não nao n falso"),
    ("ja j waar", "nee n onwaar"),
    ("ja j sann sandt", "nej nei n falsk"),
    ("kyllä", "ei"),
    ("tak prawda", "nie fałsz"),
    ("ano", "ne"),
    ("igen igaz", "nem hamis"),
    ("da", "nu"),
    ("да", "нет не"),
    ("evet", "hayır"),
)
