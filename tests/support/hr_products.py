"""Small sources in the shape of real HR products: their tables, columns, types and keys, and people as they have them.

Only the columns that matter are there. Times that are compared with today are relative to it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from backend.db.database import Database

Value = str | int | None
Row = Mapping[str, Value]

TODAY = dt.datetime.now(dt.UTC).date()
YEAR = TODAY.year


def day(offset: int) -> str:
    """The ISO date so many days from today."""
    return (TODAY + dt.timedelta(days=offset)).isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTable:
    """A table of a product.

    Attributes:
        columns: SQL type by name. A column of a type that is NOT NULL and of which a row says nothing gets the
            product's own "none": an empty text, 0 or 1900-01-01.
        key: the columns of the primary key.
    """

    name: str
    columns: Mapping[str, str]
    key: Sequence[str]
    rows: Sequence[Row]


async def install_product(url: str, tables: Sequence[ProductTable]) -> None:
    """Make and fill the tables in the URL's database (of SQL Server, MariaDB, or SQLite in place of either)."""
    database = Database("HRIS", "HRIS_URL", url)
    quote = database.engine.dialect.identifier_preparer.quote_identifier
    in_sqlite = database.engine.dialect.name == "sqlite"
    async with database.engine.begin() as connection:
        for table in tables:
            types = {name: _sqlite_type(type_) if in_sqlite else type_ for name, type_ in table.columns.items()}
            columns = ", ".join(f"{quote(name)} {type_}" for name, type_ in types.items())
            key = ", ".join(quote(name) for name in table.key)
            await connection.execute(text(f"CREATE TABLE {quote(table.name)} ({columns}, PRIMARY KEY ({key}))"))
            names = ", ".join(quote(name) for name in types)
            marks = ", ".join(f":p{index}" for index in range(len(types)))
            statement = text(f"INSERT INTO {quote(table.name)} ({names}) VALUES ({marks})")
            for row in table.rows:
                values = [_complete(row, name, type_) for name, type_ in table.columns.items()]
                await connection.execute(statement, {f"p{index}": value for index, value in enumerate(values)})
    await database.dispose()


def _sqlite_type(type_: str) -> str:
    # SQL Server takes no notice of the blanks that char(n) ends in when it compares.
    return f"{type_} COLLATE RTRIM" if type_.startswith("char(") else type_


def _complete(row: Row, name: str, type_: str) -> Value:
    value = row.get(name)
    if value is None and "NOT NULL" in type_:
        value = "" if "char" in type_ else "1900-01-01 00:00:00" if type_.startswith("datetime") else 0
    if isinstance(value, str) and type_.startswith("char("):
        width = int(type_[len("char(") : type_.index(")")])
        return value.ljust(width)
    return value


# --- SAP Business One -----------------------------------------------------------------------------------------------

SAP_BUSINESS_ONE = (
    ProductTable(
        name="OUDP",
        columns={"Code": "smallint NOT NULL", "Name": "nvarchar(20)", "Remarks": "nvarchar(100)"},
        key=("Code",),
        rows=(
            {"Code": -2, "Name": "General", "Remarks": "General"},
            {"Code": 1, "Name": "Sales", "Remarks": "Sales and service"},
            {"Code": 2, "Name": "Purchasing"},
            {"Code": 3, "Name": "Nobody here"},
        ),
    ),
    ProductTable(
        name="OHPS",
        columns={"posID": "int NOT NULL", "name": "nvarchar(20)", "descriptio": "nvarchar(50)"},
        key=("posID",),
        rows=(
            {"posID": 1, "name": "CEO", "descriptio": "Chief executive"},
            {"posID": 2, "name": "Clerk", "descriptio": ""},
        ),
    ),
    ProductTable(
        name="OHEM",
        columns={
            "empID": "int NOT NULL",
            "lastName": "nvarchar(50)",
            "firstName": "nvarchar(50)",
            "middleName": "nvarchar(50)",
            "sex": "char(1)",
            "jobTitle": "nvarchar(20)",
            "dept": "smallint",
            "manager": "int",
            "officeTel": "nvarchar(50)",
            "mobile": "nvarchar(50)",
            "email": "nvarchar(100)",
            "startDate": "datetime",
            "termDate": "datetime",
            "position": "int",
            "ExtEmpNo": "nvarchar(20)",
            "Active": "char(1)",
        },
        key=("empID",),
        rows=(
            {
                "empID": 1, "firstName": "Ada", "middleName": "M.", "lastName": "North", "jobTitle": "Owner",
                "dept": -2, "position": 1, "startDate": "2010-01-04 00:00:00", "Active": "Y", "ExtEmpNo": "A-1",
            },
            {
                "empID": 2, "firstName": "Ben", "lastName": "South", "email": "Ben.South@Example.com", "mobile": "",
                "officeTel": "555-0102", "dept": 1, "position": 2, "manager": 1, "startDate": "2015-06-01 00:00:00",
                "Active": "Y",
            },
            {  # has given notice
                "empID": 3, "firstName": "Cleo", "lastName": "West", "mobile": "555-0103", "officeTel": "555-0100",
                "dept": 1, "position": 2, "manager": 2, "termDate": f"{day(40)} 00:00:00", "Active": "Y",
            },
            {  # left as it should be
                "empID": 4, "firstName": "Dan", "lastName": "East", "dept": 1, "manager": 2,
                "termDate": f"{day(-400)} 00:00:00", "Active": "N",
            },
            {  # left, but nobody took the tick away; still the manager of somebody
                "empID": 5, "firstName": "Eva", "lastName": "Marsh", "dept": 2, "manager": 1,
                "termDate": f"{day(-40)} 00:00:00", "Active": "Y",
            },
            {"empID": 6, "firstName": "Finn", "lastName": "Moor", "dept": 2, "manager": 5, "Active": "Y"},
            {"empID": 7, "firstName": "Gus", "lastName": "Dale", "dept": 2, "manager": 1, "Active": "N"},
            {  # imported past the product: no such department, and no flag
                "empID": 8, "firstName": "明", "lastName": "李", "dept": 99, "position": 2, "manager": 1,
            },
        ),
    ),
    ProductTable(
        name="HEM1",
        columns={
            "empID": "int NOT NULL",
            "line": "smallint NOT NULL",
            "fromDate": "datetime",
            "toDate": "datetime",
            "reason": "nvarchar(20)",
            "approvedBy": "nvarchar(20)",
        },
        key=("empID", "line"),
        rows=(
            {
                "empID": 2, "line": 0, "fromDate": "2025-07-07 00:00:00", "toDate": "2025-07-18 00:00:00",
                "reason": "Vacation", "approvedBy": "Ada North",
            },
            {"empID": 2, "line": 1, "fromDate": "2025-11-03 00:00:00", "reason": ""},
            {
                "empID": 4, "line": 0, "fromDate": "2024-02-05 00:00:00", "toDate": "2024-02-06 00:00:00",
                "reason": "Sick",
            },
        ),
    ),
    ProductTable(
        name="OHLD",
        columns={
            "HldCode": "nvarchar(20) NOT NULL",
            "WndFrm": "nvarchar(1)",
            "WndTo": "nvarchar(1)",
            "isCurYear": "char(1)",
        },
        key=("HldCode",),
        rows=(
            {"HldCode": "EVERY", "WndFrm": "7", "WndTo": "1", "isCurYear": "N"},
            {"HldCode": "2025", "WndFrm": "7", "WndTo": "1", "isCurYear": "Y"},
        ),
    ),
    ProductTable(
        name="HLD1",
        columns={
            "HldCode": "nvarchar(20) NOT NULL",
            "StrDate": "datetime NOT NULL",
            "EndDate": "datetime NOT NULL",
            "Rmrks": "nvarchar(50)",
        },
        key=("HldCode", "StrDate", "EndDate"),
        rows=(
            {
                "HldCode": "EVERY", "StrDate": f"{YEAR - 1}-12-25 00:00:00", "EndDate": f"{YEAR - 1}-12-26 00:00:00",
                "Rmrks": "Christmas",
            },
            {"HldCode": "2025", "StrDate": "2025-04-18 00:00:00", "EndDate": "2025-04-18 00:00:00", "Rmrks": ""},
        ),
    ),
)  # fmt: skip


# --- Microsoft Dynamics GP ------------------------------------------------------------------------------------------

DYNAMICS_GP = (
    ProductTable(
        name="UPR40300",
        columns={"DEPRTMNT": "char(7) NOT NULL", "DSCRIPTN": "char(31) NOT NULL"},
        key=("DEPRTMNT",),
        rows=(
            {"DEPRTMNT": "ADMIN", "DSCRIPTN": "Administration"},
            {"DEPRTMNT": "SALES", "DSCRIPTN": "Sales"},
            {"DEPRTMNT": "WHSE", "DSCRIPTN": "Warehouse"},
        ),
    ),
    ProductTable(
        name="UPR40301",
        columns={
            "JOBTITLE": "char(7) NOT NULL",
            "DSCRIPTN": "char(31) NOT NULL",
            "REPORTSTOPOS": "char(7) NOT NULL",
        },
        key=("JOBTITLE",),
        rows=(
            {"JOBTITLE": "CEO", "DSCRIPTN": "Chief executive"},
            {"JOBTITLE": "CLERK", "DSCRIPTN": "Clerk", "REPORTSTOPOS": "ceo"},
        ),
    ),
    ProductTable(
        name="UPR41700",
        columns={
            "SUPERVISORCODE_I": "char(7) NOT NULL",
            "SUPERVISOR": "char(31) NOT NULL",
            "EMPLOYID": "char(15) NOT NULL",
        },
        key=("SUPERVISORCODE_I",),
        rows=(
            {"SUPERVISORCODE_I": "S01", "SUPERVISOR": "Anna Field", "EMPLOYID": "E0001"},
            {"SUPERVISORCODE_I": "S02", "SUPERVISOR": "Bob Stone", "EMPLOYID": "E0002"},
            {"SUPERVISORCODE_I": "S03", "SUPERVISOR": "Somebody outside"},
            {"SUPERVISORCODE_I": "S05", "SUPERVISOR": "Emil Lake", "EMPLOYID": "E0005"},
        ),
    ),
    ProductTable(
        name="UPR00100",
        columns={
            "EMPLOYID": "char(15) NOT NULL",
            "EMPLCLAS": "char(15) NOT NULL",
            "INACTIVE": "tinyint NOT NULL",
            "LASTNAME": "char(21) NOT NULL",
            "FRSTNAME": "char(15) NOT NULL",
            "MIDLNAME": "char(15) NOT NULL",
            "ADRSCODE": "char(15) NOT NULL",
            "SOCSCNUM": "char(15) NOT NULL",
            "BRTHDATE": "datetime NOT NULL",
            "DEPRTMNT": "char(7) NOT NULL",
            "JOBTITLE": "char(7) NOT NULL",
            "SUPERVISORCODE_I": "char(7) NOT NULL",
            "LOCATNID": "char(15) NOT NULL",
            "STRTDATE": "datetime NOT NULL",
            "DEMPINAC": "datetime NOT NULL",
            "RSNEMPIN": "char(31) NOT NULL",
            "LASTDAYWORKED_I": "datetime NOT NULL",
        },
        key=("EMPLOYID",),
        rows=(
            {  # carries the code that is her own
                "EMPLOYID": "E0001", "FRSTNAME": "Anna", "MIDLNAME": "B.", "LASTNAME": "Field", "ADRSCODE": "PRIMARY",
                "DEPRTMNT": "ADMIN", "JOBTITLE": "CEO", "SUPERVISORCODE_I": "S01", "STRTDATE": "2001-05-02 00:00:00",
                "EMPLCLAS": "SALARY", "LOCATNID": "HQ",
            },
            {
                "EMPLOYID": "E0002", "FRSTNAME": "Bob", "LASTNAME": "Stone", "ADRSCODE": "PRIMARY", "DEPRTMNT": "SALES",
                "JOBTITLE": "CLERK", "SUPERVISORCODE_I": "S01", "STRTDATE": "2012-03-01 00:00:00",
            },
            {  # imported: keys in other letters, no start date
                "EMPLOYID": "e0003", "FRSTNAME": "Carl", "LASTNAME": "Wood", "ADRSCODE": "PRIMARY", "DEPRTMNT": "sales",
                "JOBTITLE": "Clerk", "SUPERVISORCODE_I": "S02",
            },
            {
                "EMPLOYID": "E0004", "FRSTNAME": "Dora", "LASTNAME": "Hill", "DEPRTMNT": "SALES",
                "SUPERVISORCODE_I": "S03", "STRTDATE": "2019-01-07 00:00:00",
            },
            {
                "EMPLOYID": "E0005", "FRSTNAME": "Emil", "LASTNAME": "Lake", "DEPRTMNT": "ADMIN", "INACTIVE": 1,
                "SUPERVISORCODE_I": "S01", "STRTDATE": "2003-01-06 00:00:00", "DEMPINAC": "2024-04-01 00:00:00",
                "LASTDAYWORKED_I": "2024-03-28 00:00:00", "RSNEMPIN": "Retired",
            },
            {  # his manager has left
                "EMPLOYID": "E0006", "FRSTNAME": "Fay", "LASTNAME": "Glen", "DEPRTMNT": "ADMIN", "INACTIVE": 1,
                "SUPERVISORCODE_I": "S05", "STRTDATE": "2018-01-08 00:00:00", "DEMPINAC": "2023-06-30 00:00:00",
            },
            {  # came back; a department that is gone
                "EMPLOYID": "E0007", "FRSTNAME": "Gil", "LASTNAME": "Ford", "DEPRTMNT": "OLD",
                "SUPERVISORCODE_I": "S05", "STRTDATE": "2022-09-05 00:00:00", "DEMPINAC": "2020-12-31 00:00:00",
            },
            {"EMPLOYID": "E0008", "DEPRTMNT": "SALES"},  # saved before it had a name
        ),
    ),
    ProductTable(
        name="UPR00102",
        columns={"EMPLOYID": "char(15) NOT NULL", "ADRSCODE": "char(15) NOT NULL", "PHONE1": "char(21) NOT NULL"},
        key=("EMPLOYID", "ADRSCODE"),
        rows=(
            {"EMPLOYID": "E0002", "ADRSCODE": "PRIMARY", "PHONE1": "31255501020000"},
            {"EMPLOYID": "E0002", "ADRSCODE": "CABIN", "PHONE1": "31255509990000"},
            {"EMPLOYID": "e0003", "ADRSCODE": "PRIMARY", "PHONE1": "00000000000000"},
        ),
    ),
    ProductTable(
        name="SY01200",
        columns={
            "Master_Type": "char(3) NOT NULL",
            "Master_ID": "char(31) NOT NULL",
            "ADRSCODE": "char(15) NOT NULL",
            "INET1": "char(201) NOT NULL",
        },
        key=("Master_Type", "Master_ID", "ADRSCODE"),
        rows=(
            {"Master_Type": "EMP", "Master_ID": "E0002", "ADRSCODE": "PRIMARY", "INET1": "Bob.Stone@example.com"},
            {"Master_Type": "EMP", "Master_ID": "E0002", "ADRSCODE": "CABIN", "INET1": "bob@cabin.example.com"},
            {"Master_Type": "CUS", "Master_ID": "E0001", "ADRSCODE": "PRIMARY", "INET1": "customer@example.com"},
        ),
    ),
)  # fmt: skip


# --- OrangeHRM ------------------------------------------------------------------------------------------------------

ORANGEHRM = (
    ProductTable(
        name="ohrm_subunit",
        columns={
            "id": "int(6) NOT NULL",
            "name": "varchar(100) NOT NULL",
            "unit_id": "varchar(100)",
            "lft": "smallint(6) unsigned",
            "rgt": "smallint(6) unsigned",
            "level": "smallint(6) unsigned",
        },
        key=("id",),
        rows=(
            {"id": 1, "name": "Example Ltd", "unit_id": "", "lft": 1, "rgt": 8, "level": 0},
            {"id": 2, "name": "Sales", "unit_id": "S", "lft": 2, "rgt": 5, "level": 1},
            {"id": 3, "name": "Field sales", "unit_id": "S-F", "lft": 3, "rgt": 4, "level": 2},
            {"id": 4, "name": "Nobody here", "lft": 6, "rgt": 7, "level": 1},
        ),
    ),
    ProductTable(
        name="ohrm_job_title",
        columns={
            "id": "int(13) NOT NULL",
            "job_title": "varchar(100) NOT NULL",
            "is_deleted": "tinyint(1) DEFAULT 0",
        },
        key=("id",),
        rows=(
            {"id": 1, "job_title": "Director", "is_deleted": 0},
            {"id": 2, "job_title": "Clerk", "is_deleted": 0},
            {"id": 3, "job_title": "Typist", "is_deleted": 1},
            {"id": 4, "job_title": "Telex operator", "is_deleted": 1},
        ),
    ),
    ProductTable(
        name="hs_hr_employee",
        columns={
            "emp_number": "int(7) NOT NULL",
            "employee_id": "varchar(50)",
            "emp_lastname": "varchar(100) NOT NULL DEFAULT ''",
            "emp_firstname": "varchar(100) NOT NULL DEFAULT ''",
            "emp_middle_name": "varchar(100) NOT NULL DEFAULT ''",
            "job_title_code": "int(7)",
            "work_station": "int(6)",
            "emp_mobile": "varchar(50)",
            "emp_work_telephone": "varchar(50)",
            "emp_work_email": "varchar(50)",
            "joined_date": "date",
            "termination_id": "int(4)",
            "purged_at": "timestamp NULL",
        },
        key=("emp_number",),
        rows=(
            {
                "emp_number": 1, "employee_id": "0001", "emp_firstname": "Ida", "emp_middle_name": "R.",
                "emp_lastname": "Brook", "job_title_code": 1, "work_station": 1, "emp_work_email": "Ida@Example.com",
                "emp_work_telephone": "", "emp_mobile": "555-0201", "joined_date": "2008-09-01",
            },
            {
                "emp_number": 2, "employee_id": "0002", "emp_firstname": "Jon", "emp_lastname": "Reed",
                "job_title_code": 2, "work_station": 2, "joined_date": "2014-02-03",
            },
            {
                "emp_number": 3, "employee_id": "0003", "emp_firstname": "Kim", "emp_lastname": "Ash",
                "job_title_code": 3, "work_station": 3,
            },
            {
                "emp_number": 4, "employee_id": "0004", "emp_firstname": "Lea", "emp_lastname": "Fern",
                "job_title_code": 2, "work_station": 3,
            },
            {
                "emp_number": 5, "employee_id": "0005", "emp_firstname": "Max", "emp_lastname": "Thorn",
                "work_station": 2, "joined_date": "2011-04-04", "termination_id": 1,
            },
            {
                "emp_number": 6, "employee_id": "0006", "emp_firstname": "Noa", "emp_lastname": "Birch",
                "work_station": 2, "termination_id": 2,
            },
            {"emp_number": 7, "employee_id": "0007", "emp_firstname": "أمل", "emp_lastname": "حسن", "work_station": 2},
            {"emp_number": 8, "emp_firstname": "Pia", "emp_lastname": "Rose", "work_station": 2},
            {
                "emp_number": 9, "employee_id": "0009", "emp_firstname": "Purge", "emp_lastname": "Purge",
                "purged_at": "2023-01-01 00:00:00",
            },
        ),
    ),
    ProductTable(
        name="ohrm_emp_termination",
        columns={
            "id": "int(4) NOT NULL",
            "emp_number": "int(4)",
            "reason_id": "int(4)",
            "termination_date": "date NOT NULL",
        },
        key=("id",),
        rows=(
            {"id": 1, "emp_number": 5, "reason_id": 6, "termination_date": day(-100)},
            {"id": 2, "emp_number": 6, "reason_id": 2, "termination_date": day(40)},
            {"id": 3, "emp_number": 7, "reason_id": 6, "termination_date": day(-700)},  # before he came back
        ),
    ),
    ProductTable(
        name="hs_hr_emp_reportto",
        columns={
            "erep_sup_emp_number": "int(7) NOT NULL",
            "erep_sub_emp_number": "int(7) NOT NULL",
            "erep_reporting_mode": "int(7) NOT NULL",
        },
        key=("erep_sup_emp_number", "erep_sub_emp_number", "erep_reporting_mode"),
        rows=(
            {"erep_sub_emp_number": 2, "erep_sup_emp_number": 1, "erep_reporting_mode": 1},
            {"erep_sub_emp_number": 3, "erep_sup_emp_number": 1, "erep_reporting_mode": 2},  # indirect
            {"erep_sub_emp_number": 3, "erep_sup_emp_number": 4, "erep_reporting_mode": 1},
            {"erep_sub_emp_number": 3, "erep_sup_emp_number": 2, "erep_reporting_mode": 1},
            {"erep_sub_emp_number": 4, "erep_sup_emp_number": 5, "erep_reporting_mode": 1},  # who has left
            {"erep_sub_emp_number": 4, "erep_sup_emp_number": 6, "erep_reporting_mode": 2},
            {"erep_sub_emp_number": 4, "erep_sup_emp_number": 9, "erep_reporting_mode": 1},  # who is purged
            {"erep_sub_emp_number": 7, "erep_sup_emp_number": 5, "erep_reporting_mode": 1},
            {"erep_sub_emp_number": 7, "erep_sup_emp_number": 6, "erep_reporting_mode": 1},
            {"erep_sub_emp_number": 6, "erep_sup_emp_number": 8, "erep_reporting_mode": 1},  # who has no number
        ),
    ),
    ProductTable(
        name="ohrm_leave_type",
        columns={"id": "int(10) unsigned NOT NULL", "name": "varchar(50) NOT NULL"},
        key=("id",),
        rows=({"id": 1, "name": "Annual"}, {"id": 2, "name": "Sick"}),
    ),
    ProductTable(
        name="ohrm_leave",
        columns={
            "id": "int(11) NOT NULL",
            "date": "date",
            "length_hours": "decimal(6,2) unsigned",
            "length_days": "decimal(6,4) unsigned",
            "status": "smallint(6)",
            "leave_type_id": "int(10) unsigned NOT NULL",
            "emp_number": "int(7) NOT NULL",
            "duration_type": "tinyint(4) NOT NULL DEFAULT 0",
        },
        key=("id",),
        rows=(
            {
                "id": 1, "date": "2025-08-04", "length_hours": "8.00", "length_days": "1.0000", "status": 3,
                "leave_type_id": 1, "emp_number": 2, "duration_type": 0,
            },
            {
                "id": 2, "date": "2025-08-05", "length_hours": "4.00", "length_days": "0.5000", "status": 2,
                "leave_type_id": 1, "emp_number": 2, "duration_type": 1,
            },
            {
                "id": 3, "date": "2025-08-06", "length_hours": "4.00", "length_days": "0.5000", "status": 2,
                "leave_type_id": 2, "emp_number": 3, "duration_type": 2,
            },
            {
                "id": 4, "date": "2025-08-07", "length_hours": "2.50", "length_days": "0.3125", "status": 2,
                "leave_type_id": 2, "emp_number": 3, "duration_type": 3,
            },
            {"id": 5, "date": "2025-08-08", "status": 1, "leave_type_id": 1, "emp_number": 2},  # asked for
            {"id": 6, "date": "2025-08-09", "status": 4, "leave_type_id": 1, "emp_number": 2},  # a weekend
            {"id": 7, "date": "2025-08-11", "status": -1, "leave_type_id": 1, "emp_number": 2},  # rejected
            {"id": 8, "date": "2025-08-12", "status": 3, "leave_type_id": 1, "emp_number": 8},
        ),
    ),
    ProductTable(
        name="ohrm_operational_country",
        columns={"id": "int(10) unsigned NOT NULL", "country_code": "char(2)"},
        key=("id",),
        rows=({"id": 1, "country_code": "NL"},),
    ),
    ProductTable(
        name="ohrm_holiday",
        columns={
            "id": "int(10) unsigned NOT NULL",
            "description": "text",
            "date": "date",
            "recurring": "tinyint(3) unsigned DEFAULT 0",
            "length": "int(10) unsigned",
            "operational_country_id": "int(10) unsigned",
        },
        key=("id",),
        rows=(
            {"id": 1, "description": "New Year", "date": f"{YEAR - 1}-01-01", "recurring": 1, "length": 0},
            {
                "id": 2, "description": "King's Day", "date": "2025-04-26", "recurring": 0, "length": 4,
                "operational_country_id": 1,
            },
        ),
    ),
)  # fmt: skip


# --- ERPNext --------------------------------------------------------------------------------------------------------

_NAME = {"name": "varchar(140) NOT NULL"}

ERPNEXT = (
    ProductTable(
        name="tabCompany",
        columns={**_NAME, "abbr": "varchar(140)", "default_holiday_list": "varchar(140)"},
        key=("name",),
        rows=(
            {"name": "Example Trading", "abbr": "ET", "default_holiday_list": "Head office 2025"},
            {"name": "Example Making", "abbr": "EM"},
        ),
    ),
    ProductTable(
        name="tabDepartment",
        columns={
            **_NAME,
            "department_name": "varchar(140)",
            "parent_department": "varchar(140)",
            "company": "varchar(140)",
            "is_group": "int(1) NOT NULL DEFAULT 0",
            "disabled": "int(1) NOT NULL DEFAULT 0",
        },
        key=("name",),
        rows=(
            {
                "name": "All Departments", "department_name": "All Departments", "parent_department": "", "is_group": 1,
            },
            {
                "name": "Sales - ET", "department_name": "Sales", "parent_department": "All Departments",
                "company": "Example Trading", "is_group": 1,
            },
            {
                "name": "Field - ET", "department_name": "Field", "parent_department": "Sales - ET",
                "company": "Example Trading",
            },
            {
                "name": "Sales - EM", "department_name": "Sales", "parent_department": "All Departments",
                "company": "Example Making",
            },
            {
                "name": "Telex - ET", "department_name": "Telex", "parent_department": "All Departments",
                "company": "Example Trading", "disabled": 1,
            },
            {
                "name": "Archive - ET", "department_name": "Archive", "parent_department": "All Departments",
                "company": "Example Trading", "disabled": 1,
            },
        ),
    ),
    ProductTable(
        name="tabDesignation",
        columns={**_NAME, "designation_name": "varchar(140)"},
        key=("name",),
        rows=(
            {"name": "Director", "designation_name": "Director"},
            {"name": "Sales Representative", "designation_name": "Sales Representative"},
        ),
    ),
    ProductTable(
        name="tabEmployee",
        columns={
            **_NAME,
            "employee_name": "varchar(140)",
            "first_name": "varchar(140)",
            "last_name": "varchar(140)",
            "employee_number": "varchar(140)",
            "user_id": "varchar(140)",
            "company_email": "varchar(140)",
            "personal_email": "varchar(140)",
            "cell_number": "varchar(140)",
            "company": "varchar(140)",
            "branch": "varchar(140)",
            "department": "varchar(140)",
            "designation": "varchar(140)",
            "reports_to": "varchar(140)",
            "status": "varchar(140) DEFAULT 'Active'",
            "date_of_joining": "date",
            "relieving_date": "date",
            "attendance_device_id": "varchar(140) UNIQUE",
            "holiday_list": "varchar(140)",
        },
        key=("name",),
        rows=(
            {
                "name": "HR-EMP-00001", "employee_name": "Quinn Vale", "first_name": "Quinn", "last_name": "Vale",
                "company": "Example Trading", "department": "All Departments", "designation": "Director",
                "status": "Active", "company_email": "Quinn@Example.com", "personal_email": "q@home.example.com",
                "date_of_joining": "2012-01-02", "attendance_device_id": "1001",
            },
            {
                "name": "HR-EMP-00002", "employee_name": "Rosa Glade", "first_name": "Rosa", "last_name": "Glade",
                "company": "Example Trading", "department": "Sales - ET", "designation": "Sales Representative",
                "reports_to": "HR-EMP-00001", "status": "Active", "company_email": "", "user_id": "rosa@example.com",
                "cell_number": "555-0302", "date_of_joining": "2016-05-02", "attendance_device_id": "1002",
                "holiday_list": "Field 2025",
            },
            {
                "name": "HR-EMP-00003", "employee_name": "Sam Cliff", "first_name": "Sam", "last_name": "Cliff",
                "company": "Example Trading", "department": "Field - ET", "reports_to": "HR-EMP-00002",
                "status": "Suspended", "date_of_joining": "2019-03-04", "attendance_device_id": "1003",
            },
            {  # left; still the manager of somebody
                "name": "HR-EMP-00004", "employee_name": "Tess Bay", "first_name": "Tess", "last_name": "Bay",
                "company": "Example Making", "department": "Sales - EM", "reports_to": "HR-EMP-00001",
                "status": "Left", "date_of_joining": "2017-07-03", "relieving_date": "2024-12-31",
            },
            {
                "name": "HR-EMP-00005", "employee_name": "Uri Sand", "first_name": "Uri", "company": "Example Making",
                "department": "Sales - EM", "reports_to": "HR-EMP-00004", "status": "Active",
                "date_of_joining": "2020-10-01", "attendance_device_id": "2001",
            },
            {
                "name": "HR-EMP-00006", "employee_name": "Vera Pond", "first_name": "Vera", "last_name": "Pond",
                "company": "Example Trading", "department": "Archive - ET", "status": "Inactive",
                "date_of_joining": "2013-01-07",
            },
            {  # who he reports to was renamed by hand
                "name": "HR-EMP-00007", "employee_name": "Wim Dune", "first_name": "Wim", "last_name": "Dune",
                "company": "Example Trading", "department": "Field - ET", "reports_to": "HR-EMP-09999",
                "status": "Active", "date_of_joining": "2021-02-01",
            },
            {  # a status of the site's own
                "name": "HR-EMP-00008", "employee_name": "Xia Lin", "first_name": "Xia", "last_name": "Lin",
                "company": "Example Trading", "department": "Field - ET", "status": "On Notice",
                "date_of_joining": "2022-02-01",
            },
        ),
    ),
    ProductTable(
        name="tabLeave Application",
        columns={
            **_NAME,
            "docstatus": "int(1) NOT NULL DEFAULT 0",
            "employee": "varchar(140)",
            "leave_type": "varchar(140)",
            "from_date": "date",
            "to_date": "date",
            "half_day": "int(1) NOT NULL DEFAULT 0",
            "half_day_date": "date",
            "status": "varchar(140) DEFAULT 'Open'",
        },
        key=("name",),
        rows=(
            {
                "name": "HR-LAP-2025-00001", "docstatus": 1, "employee": "HR-EMP-00002",
                "leave_type": "Privilege Leave", "from_date": "2025-07-07", "to_date": "2025-07-18",
                "status": "Approved",
            },
            {
                "name": "HR-LAP-2025-00002", "docstatus": 1, "employee": "HR-EMP-00003", "leave_type": "Sick Leave",
                "from_date": "2025-09-01", "to_date": "2025-09-05", "half_day": 1, "half_day_date": "2025-09-03",
                "status": "Approved",
            },
            {
                "name": "HR-LAP-2025-00003", "docstatus": 1, "employee": "HR-EMP-00003", "leave_type": "Sick Leave",
                "from_date": "2025-10-06", "to_date": "2025-10-06", "half_day": 1, "status": "Approved",
            },
            {  # not submitted yet
                "name": "HR-LAP-2025-00004", "docstatus": 0, "employee": "HR-EMP-00002", "leave_type": "Sick Leave",
                "from_date": "2025-11-03", "to_date": "2025-11-03", "status": "Approved",
            },
            {
                "name": "HR-LAP-2025-00005", "docstatus": 1, "employee": "HR-EMP-00002", "leave_type": "Sick Leave",
                "from_date": "2025-11-10", "to_date": "2025-11-10", "status": "Rejected",
            },
            {
                "name": "HR-LAP-2025-00006", "docstatus": 2, "employee": "HR-EMP-00002", "leave_type": "Sick Leave",
                "from_date": "2025-11-17", "to_date": "2025-11-17", "status": "Approved",
            },
        ),
    ),
    ProductTable(
        name="tabHoliday",
        columns={
            **_NAME,
            "parent": "varchar(140)",
            "parenttype": "varchar(140)",
            "holiday_date": "date",
            "weekly_off": "int(1) NOT NULL DEFAULT 0",
            "description": "longtext",
        },
        key=("name",),
        rows=(
            {
                "name": "a1b2c3d4e5", "parent": "Head office 2025", "parenttype": "Holiday List",
                "holiday_date": "2025-12-25",
                "description": '<div class="ql-editor read-mode"><p>Christmas &amp; more</p></div>',
            },
            {
                "name": "b2c3d4e5f6", "parent": "Head office 2025", "parenttype": "Holiday List",
                "holiday_date": "2025-12-28", "weekly_off": 1, "description": "Sunday",
            },
            {
                "name": "c3d4e5f6a7", "parent": "Field 2025", "parenttype": "Holiday List",
                "holiday_date": "2025-12-25", "description": "Christmas",
            },
        ),
    ),
)  # fmt: skip
