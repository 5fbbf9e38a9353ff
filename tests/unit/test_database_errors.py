"""What a driver's error means: whether it is worth another try, and what the message tells the administrator."""

from __future__ import annotations

import pytest
from sqlalchemy.engine.interfaces import BindTyping
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError

from backend.db.database import Database, explain_error, is_transient
from backend.errors import ConfigurationError, HrsyncError, PermanentError, TransientError

FREETDS = "[FreeTDS][SQL Server]"
MICROSOFT = "[Microsoft][ODBC Driver 18 for SQL Server]"
DEADLOCK = "Transaction (Process ID 52) was deadlocked on lock resources with another process. Rerun the transaction."


class OdbcError(Exception):
    """As pyodbc raises it: the SQLSTATE, and the text with it."""


def odbc(kind: type[DBAPIError], state: str, text: str) -> DBAPIError:
    return kind("SELECT 1", {}, OdbcError(state, f"[{state}] {text}"))


@pytest.fixture
def hris() -> Database:
    return Database("HRIS", "HRIS_URL", "mssql+aioodbc://reader:secret@db.example.com:1433/hr?driver=FreeTDS")


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (odbc(ProgrammingError, "42000", f"{FREETDS}{DEADLOCK} (1205) (SQLExecDirectW)"), TransientError, "deadlocked"),
        (
            odbc(OperationalError, "40001", f"{MICROSOFT}[SQL Server]{DEADLOCK} (1205) (SQLExecDirectW)"),
            TransientError,
            "deadlocked",
        ),
        (
            odbc(ProgrammingError, "42000", f"{FREETDS}Lock request time out period exceeded. (1222) (SQLFetch)"),
            TransientError,
            "Lock request",
        ),
        (
            odbc(OperationalError, "HYT00", f"{MICROSOFT}Query timeout expired (0) (SQLExecDirectW)"),
            TransientError,
            "SOURCE_TIMEOUT_SECONDS",
        ),
        (
            odbc(OperationalError, "HYT00", f"{MICROSOFT}Login timeout expired (0) (SQLDriverConnect)"),
            TransientError,
            "check host and port",
        ),
        (
            odbc(DBAPIError, "HY000", f"{FREETDS}Unexpected EOF from the server (20017) (SQLFetch)"),
            TransientError,
            "the connection was lost",
        ),
        (
            odbc(OperationalError, "08S01", f"{MICROSOFT}TCP Provider: Error code 0x2746 (10054) (SQLGetData)"),
            TransientError,
            "the connection was lost",
        ),
        (
            odbc(ProgrammingError, "42000", f"{FREETDS}Login failed for user 'reader'. (18456) (SQLDriverConnect)"),
            ConfigurationError,
            "check user and password in HRIS_URL",
        ),
        (
            odbc(InterfaceError, "28000", f"{MICROSOFT}[SQL Server]Login failed. (18456) (SQLDriverConnect)"),
            ConfigurationError,
            "check user and password in HRIS_URL",
        ),
        (
            odbc(
                InterfaceError,
                "28000",
                f"{MICROSOFT}[SQL Server]Login failed. (18456) (SQLDriverConnect); [28000] {MICROSOFT}"
                '[SQL Server]Cannot open database "hr" requested by the login. The login failed. (4060)',
            ),
            ConfigurationError,
            "there is no such database",
        ),
        (
            odbc(
                OperationalError,
                "08001",
                f"{MICROSOFT}SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed "
                "certificate] (-1) (SQLDriverConnect)",
            ),
            ConfigurationError,
            "TrustServerCertificate=yes",
        ),
        (
            odbc(
                OperationalError,
                "08001",
                f"{MICROSOFT}SSL Provider: [error:0A000102:SSL routines::unsupported protocol] (-1) (SQLDriverConnect)",
            ),
            ConfigurationError,
            "enable TLS 1.2",
        ),
        (
            odbc(DBAPIError, "01000", "[unixODBC][Driver Manager]Can't open lib 'X' : file not found (0) (SQLConnect)"),
            ConfigurationError,
            "apt install unixodbc tdsodbc",
        ),
        (
            odbc(
                InterfaceError, "IM002", "[unixODBC][Driver Manager]Data source name not found (0) (SQLDriverConnect)"
            ),
            ConfigurationError,
            "apt install unixodbc tdsodbc",
        ),
        (
            odbc(
                ProgrammingError, "42S02", f"{MICROSOFT}[SQL Server]Invalid object name 'emp'. (208) (SQLExecDirectW)"
            ),
            PermanentError,
            "Invalid object name 'emp'",
        ),
        (
            odbc(
                ProgrammingError, "42000", f"{FREETDS}The SELECT permission was denied on 'emp'. (229) (SQLExecDirectW)"
            ),
            PermanentError,
            "grant it SELECT",
        ),
        (
            ProgrammingError("SELECT 1", {}, OdbcError("ODBC SQL type -151 is not yet supported.", "HY106")),
            PermanentError,
            "CAST it to nvarchar",
        ),
    ],
)
def test_sql_server_errors(hris: Database, error: DBAPIError, expected: type[HrsyncError], said: str) -> None:
    """Each error of either ODBC driver is of the class that its cause deserves, and its text says what to do."""
    explained = explain_error(hris, error)

    assert expected is type(explained)
    assert (expected is TransientError) == is_transient(error)
    assert said in str(explained)
    assert str(explained).startswith("HRIS (HRIS_URL = mssql+aioodbc://reader:***@db.example.com")


def test_number_in_a_message_is_no_error_number(hris: Database) -> None:
    """A number that the text mentions does not make a refused statement transient."""
    error = odbc(ProgrammingError, "42000", f"{FREETDS}Conversion failed for employee (1205). (245) (SQLFetch)")

    assert PermanentError is type(explain_error(hris, error))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mssql+aioodbc://u:p@h:14330/d?driver=FreeTDS", "14330"),
        ("mssql+aioodbc://u:p@h:14330/d?driver=FreeTDS&port=1500", "1500"),
        ("mssql+aioodbc://u:p@h:14330/d?driver=FreeTDS&Port=1500", None),
        ("mssql+aioodbc://u:p@h:14330/d?driver=/usr/lib/libtdsodbc.so", "14330"),
        ("mssql+aioodbc://u:p@h/d?driver=FreeTDS", None),
        ("mssql+aioodbc://u:p@h:14330/d?driver=ODBC+Driver+18+for+SQL+Server", None),
    ],
)
def test_freetds_gets_its_port(url: str, expected: str | None) -> None:
    """FreeTDS looks for the port in a keyword of its own; it is added where the URL has a port and names none."""
    assert expected == Database("HRIS", "HRIS_URL", url).url.query.get("port")


async def test_freetds_gets_no_parameter_sizes() -> None:
    """SQLAlchemy's types for parameters and its fast batches, which FreeTDS does not survive, stay off."""
    database = Database("HRIS", "HRIS_URL", "mssql+aioodbc://u:p@h:1433/d?driver=FreeTDS")
    dialect = database.engine.sync_engine.dialect
    assert (BindTyping.NONE, False) == (dialect.bind_typing, dialect.fast_executemany)  # type: ignore[attr-defined]
    await database.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "mssql+aioodbc:///?odbc_connect=DRIVER%3DFreeTDS%3BUID%3Du%3BPWD%3Dhush-hush",
        "mssql+aioodbc://h/d?driver=FreeTDS&UID=u&PWD=hush-hush",
        "mssql+aioodbc://u:hush-hush@h/d?driver=FreeTDS",
    ],
)
def test_password_is_not_shown(url: str) -> None:
    """Wherever a URL carries its password, messages do not."""
    assert "hush-hush" not in Database("HRIS", "HRIS_URL", url).safe_url
