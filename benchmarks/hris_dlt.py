"""The replication of the employees by dlt, with its merge disposition: rows are inserted and replaced, none deleted.

A process of its own in an environment of its own (`scripts/bench hris --with-dlt` makes it): it imports nothing of
hrsync. Telemetry is off; what dlt keeps on disk is in the folder that `benchmarks.hris` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import dlt  # type: ignore[import-not-found]
import pyarrow as pa
from arrow_odbc import read_arrow_batches_from_odbc
from dlt.destinations import sqlalchemy  # type: ignore[import-not-found]

from benchmarks.meter import Cost, Order, measured, read_order

BATCH_ROWS = 20_000


def replicate(order: Order) -> Cost:
    """One run of the pipeline."""

    @dlt.resource(  # type: ignore[untyped-decorator]
        name="employee",
        primary_key="emp_no",
        write_disposition="merge",
        columns={"emp_no": {"data_type": "text", "precision": 20}},
    )
    def employees() -> Iterator[pa.Table]:
        for batch in read_arrow_batches_from_odbc(order.query, order.odbc, batch_size=BATCH_ROWS):
            yield pa.Table.from_batches([batch])

    target = order.target
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=os.environ["DLT_DATA_DIR"],
        destination=sqlalchemy(
            {
                "drivername": "mysql+pymysql",
                "host": target.host,
                "port": target.port,
                "username": target.user,
                "password": target.password,
                "database": target.database,
            },
            create_primary_keys=True,  # without them its merge takes minutes
        ),
        dataset_name=target.database,
    )
    with measured() as cost:
        pipeline.run(employees()).raise_on_failed_jobs()
    with pipeline.sql_client() as client, client.execute_query("SELECT count(*) FROM employee") as cursor:
        ((rows,),) = cursor.fetchall()
    if rows != order.rows:
        raise SystemExit(f"{rows} rows instead of {order.rows}")
    cost.note = f"dlt {dlt.__version__}"
    return cost


if __name__ == "__main__":
    replicate(read_order()).print()
