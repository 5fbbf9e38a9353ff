"""A fictional company, made the same way every time: its HRIS and its BioStar 2 database as plain SQLite files.

Both know the same people and are as untidy as real ones; what a careful replication must find in them is always there,
whatever the seed. People, addresses and numbers are invented.

The HRIS, in the style of a bought product (dates are text; none is NULL, 1900-01-01 or 9999-12-31):

    HR_DEPARTMENT      DEPT_ID, DEPT_NAME, PARENT_DEPT_ID, COST_CENTRE, ACTIVE_FLAG (Y/N)
    HR_JOB             JOB_CODE, JOB_TITLE, JOB_GRADE, ACTIVE_FLAG (Y/N)
    HR_EMPLOYEE        EMP_ROW_ID, EMP_NO, EMP_STINT (2: rehired under the same number), FIRST_NAME, LAST_NAME,
                       DISPLAY_NAME, EMAIL, PHONE, JOB_CODE, MANAGER_EMP_NO, EMP_STATUS (A active, L on leave,
                       S suspended, T terminated), HIRE_DATE, TERM_DATE, BADGE_ID (the BioStar user), WORK_SITE,
                       LAST_CHANGED
    HR_EMP_DEPARTMENT  ASSIGNMENT_ID, EMP_NO, DEPT_ID, FROM_DATE, TO_DATE
    HR_LEAVE           LEAVE_ID, EMP_NO, LEAVE_TYPE (VAC, SICK, PAR), FROM_DATE, TO_DATE, HALF_DAY (AM, PM), HOURS (of
                       each day; 0: not by the hour), LEAVE_STATUS (A approved, R requested, C cancelled)
    HR_HOLIDAY         HOLIDAY_ID, HOLIDAY_DATE, HOLIDAY_NAME, SITE (none: all of them), HALF_DAY

The warts of the HRIS by employee number: 20 a terminated manager; 60-62 manage each other in a circle, 63 himself, 64
is managed by nobody known; 70-75 numbers in lower case, 76-85 with trailing blanks; 90/91 and 92/93 share an e-mail
address; 100 and 101 rehired under their number, 102 under a new one (290); 103-130 dates that mean none; 120 twice in
different case; 131 and 132 unreadable dates; 133-136 two open department rows; 137 an unknown status; 138 an unknown
department; 139 no name; 140 no department; 141 no job. Two employees, a department and a job have no key; the parent of
D790 does not exist. References to keys come in any case and with blanks. Of the leaves one belongs to nobody known
(9998), one ends before it begins (32), one was cancelled (33), two overlap (34), one has an unreadable date (35); a
holiday has no date yet.

BioStar: T_LGyyyymm by device time in UTC, T_USR, T_USRGR, T_DEV, T_EVTTYP (lower case, as on MariaDB). People of three
sites punch in and out with the keys 1 and 2, some also for breaks (3, 4); some forget to, punch twice or press no key;
some stay longer, and a few come on a rest day. Readers refuse fingers and set their clocks (on Sundays at night; that
of the car park is slow every other Wednesday morning and set at 08:33, while people arrive), and one reader was offline
and delivered its punches days later. A visitor's card belongs to no employee. Nobody comes on a leave or on a holiday
of his site (half a day: for the other half), but a few stay away without one.
"""

from __future__ import annotations

from backend.demo.biostar import PUNCH_DAYS, deliver_punch, write_biostar
from backend.demo.hris import break_hris, change_hris, mend_hris, write_hris
from backend.demo.people import DEFAULT_SEED

__all__ = [
    "DEFAULT_SEED",
    "PUNCH_DAYS",
    "break_hris",
    "change_hris",
    "deliver_punch",
    "mend_hris",
    "write_biostar",
    "write_hris",
]
