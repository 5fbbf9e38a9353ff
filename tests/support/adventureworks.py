"""The HR part of AdventureWorks in a SQL Server: its schemas, tables and types, filled from the files."""

from __future__ import annotations

import csv
from pathlib import Path

import pyodbc

from tests.support.databases import connect_mssql

# Per table: its file, and its columns as AdventureWorks has them; what no query needs is left out.
_TABLES = {
    "HumanResources.Department": (
        "department",
        {
            "DepartmentID": "smallint NOT NULL PRIMARY KEY",
            "Name": "nvarchar(50) NOT NULL",
            "GroupName": "nvarchar(50) NOT NULL",
            "ModifiedDate": "datetime NOT NULL",
        },
    ),
    "HumanResources.Employee": (
        "employee",
        {
            "BusinessEntityID": "int NOT NULL PRIMARY KEY",
            "NationalIDNumber": "nvarchar(15) NOT NULL",
            "LoginID": "nvarchar(256) NOT NULL",
            "OrganizationNode": "hierarchyid NULL",
            "JobTitle": "nvarchar(50) NOT NULL",
            "BirthDate": "date NOT NULL",
            "Gender": "nchar(1) NOT NULL",
            "HireDate": "date NOT NULL",
            "SalariedFlag": "bit NOT NULL",
            "VacationHours": "smallint NOT NULL",
            "CurrentFlag": "bit NOT NULL",
            "rowguid": "uniqueidentifier NOT NULL",
            "ModifiedDate": "datetime NOT NULL",
        },
    ),
    "HumanResources.EmployeeDepartmentHistory": (
        "employee_department_history",
        {
            "BusinessEntityID": "int NOT NULL",
            "DepartmentID": "smallint NOT NULL",
            "ShiftID": "tinyint NOT NULL",
            "StartDate": "date NOT NULL",
            "EndDate": "date NULL",
        },
    ),
    "Person.EmailAddress": (
        "email_address",
        {
            "BusinessEntityID": "int NOT NULL",
            "EmailAddressID": "int NOT NULL",
            "EmailAddress": "nvarchar(50) NULL",
        },
    ),
}


def install_adventureworks(url: str, folder: Path) -> bool:
    """Make and fill the tables in the URL's database.

    Returns:
        Whether `OrganizationNode` is a hierarchyid; a server without that type gets its path as a text.
    """
    with connect_mssql(url) as connection:
        cursor = connection.cursor()
        has_hierarchyid = _knows_hierarchyid(cursor)
        for schema in ("HumanResources", "Person"):
            cursor.execute(f"CREATE SCHEMA {schema}")
        for table, (file, columns) in _TABLES.items():
            types = {
                name: type_ if has_hierarchyid else type_.replace("hierarchyid", "nvarchar(100)")
                for name, type_ in columns.items()
            }
            cursor.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {type_}' for name, type_ in types.items())})")
            values = ", ".join(f"CAST(? AS {type_.partition(' ')[0]})" for type_ in types.values())
            cursor.executemany(
                f"INSERT INTO {table} ({', '.join(types)}) VALUES ({values})",
                [[row[name] or None for name in types] for row in _read(folder / f"{file}.tsv")],
            )
        return has_hierarchyid


def _knows_hierarchyid(cursor: pyodbc.Cursor) -> bool:
    try:
        cursor.execute("SELECT CAST('/' AS hierarchyid).ToString()").fetchall()
    except pyodbc.Error:
        return False
    return True


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
