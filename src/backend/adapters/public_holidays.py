"""The public holidays of countries and their regions, as the `holidays` library knows them."""

from __future__ import annotations

from backend.adapters.toml_problems import did_you_mean
from backend.domain.attendance.calendars import Holiday
from backend.errors import ConfigurationError

_LANGUAGE = "en_US"


def find_place_problem(place: str) -> str | None:
    """What is wrong with a country, or country and region, such as DE or DE-BE; None: nothing."""
    import holidays

    country, _, region = place.partition("-")
    countries = {code: regions for code, regions in holidays.list_supported_countries().items() if len(code) == 2}
    if country not in countries:
        hint = did_you_mean(country, countries) or "; give its two letters of ISO 3166, such as DE"
        return f"no public holidays are known of country {country}{hint}"
    if region and region not in countries[country]:
        there = ", ".join(countries[country])
        return f"{country} has no region {region}; " + (f"it has: {there}" if there else f"give {country} alone")
    if place.endswith("-"):
        return f"give {country}, or a region after the dash"
    return None


def list_public_holidays(place: str, first_year: int, last_year: int) -> list[Holiday]:
    """The public holidays of a country, or of a country and region, in the years from first to last, by date.

    Names are English where the library has them in English, whatever the language of the machine.

    Raises:
        ConfigurationError: the library does not know the country or region.
    """
    import holidays

    if problem := find_place_problem(place):
        raise ConfigurationError(f"Public holidays of {place}: {problem}.")
    country, _, region = place.partition("-")
    kind = getattr(holidays, country)
    language = _LANGUAGE if _LANGUAGE in kind.supported_languages else kind.default_language
    years = range(first_year, last_year + 1)
    made = holidays.country_holidays(country, subdiv=region or None, years=years, language=language)
    return [Holiday(holiday_on=day, name=name) for day, name in sorted(made.items())]
