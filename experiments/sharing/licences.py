"""Licences by the names that the hub has for them."""

from warmstart.core.errors import WarmstartError, unknown_name

OTHER = "other"
"""A licence of one's own, which needs a name."""
LICENCES = tuple(
    [
        "afl-3.0",
        "agpl-3.0",
        "apache-2.0",
        "apple-ascl",
        "artistic-2.0",
        "bigcode-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigscience-openrail-m",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "bsl-1.0",
        "c-uda",
        "cc",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "cdla-sharing-1.0",
        "creativeml-openrail-m",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "intel-research",
        "isc",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "lgpl-lr",
        "lppl-1.3c",
        "mit",
        "mpl-2.0",
        "ms-pl",
        "ncsa",
        "odbl",
        "odc-by",
        "ofl-1.1",
        "openrail",
        "openrail++",
        "osl-3.0",
        "other",
        "pddl",
        "postgresql",
        "unlicense",
        "wtfpl",
        "zlib",
    ]
)
"""What a card's ``license`` may be."""


def front_matter(licence: str | None, name: str | None) -> dict[str, str]:
    """What a card says of its licence.

    Args:
        licence: One of `LICENCES`.
        name: Name of a licence of one's own, with ``other``.

    Raises:
        WarmstartError: There is none, it is unknown, or a name is missing or idle.
    """
    if not licence:
        raise WarmstartError(
            "A shared policy needs a licence: give --licence, such as --licence mit, or --licence other "
            "--licence-name NAME for one of your own."
        )
    if licence not in LICENCES:
        raise unknown_name("licence", licence, LICENCES)
    if (licence == OTHER) != bool(name):
        raise WarmstartError("--licence other and --licence-name NAME go together: expected both or neither.")
    return {"license": licence, **({"license_name": name} if name else {})}
