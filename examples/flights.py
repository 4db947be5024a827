"""Will this departure from New York arrive late?  Try it: make demo, or mainspring up flights.py"""

from datetime import datetime

from lightgbm import LGBMClassifier

import mainspring as ms
from mainspring import Column, days, hours, minutes


class Flight(ms.Source, url="data/flights.parquet"):  # a request, one hour before departure
    flight_id: Column[str] = ms.column(unique=True)
    carrier: Column[str]
    flight: Column[str]  # the number on the ticket: UA1545
    origin: Column[str] = ms.column(one_of=("EWR", "JFK", "LGA"))
    dest: Column[str]
    tailnum: Column[str | None]
    minute_of_day: Column[int] = ms.column(ge=0, le=1439)  # of the departure, on New York's clocks
    weekday: Column[int]
    asked_at: Column[datetime] = ms.event_time()


class Departure(ms.Source, url="data/departures.parquet"):
    flight_id: Column[str] = ms.column(unique=True)
    origin: Column[str]
    delay: Column[float]  # minutes
    departed_at: Column[datetime] = ms.event_time(late_by=minutes(2))


class Arrival(ms.Source, url="data/arrivals.parquet"):
    flight_id: Column[str] = ms.column(unique=True)
    flight: Column[str]
    origin: Column[str]
    dest: Column[str]
    tailnum: Column[str | None]
    delay: Column[float]  # minutes
    landed_at: Column[datetime] = ms.event_time(late_by=minutes(5))


class Weather(ms.Source, url="data/weather.parquet"):
    report_id: Column[str] = ms.column(unique=True)
    origin: Column[str]
    precip: Column[float | None]  # inches an hour
    observed_at: Column[datetime] = ms.event_time(late_by=minutes(9))


class Schedule(ms.FeatureView, key=Flight.origin):
    due_3h = ms.count(window=hours(4)) - ms.count(window=hours(1))


class Airport(ms.FeatureView, key=Departure.origin):
    departed_3h = ms.count(window=hours(3))
    delay_1h = ms.mean(Departure.delay, window=hours(1))
    late_3h = ms.count(window=hours(3), where=Departure.delay >= 15) / ms.count(window=hours(3))


class Aircraft(ms.FeatureView, key=Arrival.tailnum):
    last_delay = ms.last(Arrival.delay, window=hours(12))
    landed = ms.time_since_last(window=days(2))


class Number(ms.FeatureView, key=Arrival.flight):
    last_delay = ms.last(Arrival.delay, window=days(14))
    usual_delay = ms.ewma(Arrival.delay, half_life=days(7), window=days(30))


class Route(ms.FeatureView, key=Arrival.origin, second_key=Arrival.dest):
    delay_6h = ms.mean(Arrival.delay, window=hours(6))


class Sky(ms.FeatureView, key=Weather.origin):
    precip = ms.last(Weather.precip, window=hours(6))


seen = (Schedule, Airport, Aircraft, Number, Route, Sky, Schedule.due_3h - Airport.departed_3h)
asked = (Flight.carrier, Flight.origin, Flight.dest, Flight.minute_of_day, Flight.weekday)
late = ms.Label("late", Flight.flight_id, Arrival.flight_id, days(2), value=Arrival.delay >= 15)
rows = ms.TrainingSet("rows", late, [*seen, *asked], lookback=days(120), at_least=20_000)
gates = (ms.beats("champion", ms.log_loss), ms.beats("baseline", ms.log_loss))
model = ms.Model("lateness", LGBMClassifier(learning_rate=0.08, min_child_samples=200), rows, gates)
predict = ms.Endpoint("lateness", model, ms.Canary([0.1, 0.5, 1.0], bake=days(1)), fallback=0.24)
drift = ms.Monitor("airport_drift", Airport, ms.drift(), every=days(1))
when = (ms.every(days(7)), ms.drifted(drift), ms.worse(predict, ms.log_loss, by=0.2))
refit = ms.Retraining(model, when)
system = ms.System("flights", endpoints=[predict], monitors=[drift], retraining=[refit])
