"""Values that sources send and no two readers take alike, and what every sink holds of them.

None stands for NULL: what was sent is then kept beside the columns, and noted.
"""

from __future__ import annotations

from harness.destination import ID, TEXT

MOMENT = {"type": ["null", "string"], "format": "date-time"}
DAY = {"type": ["null", "string"], "format": "date"}
NUMBER, JSON = {"type": ["null", "number"]}, {"type": ["null", "object"]}

# Of a column of moments. Those of the fault 01_wrong_moment are among them.
MOMENTS: dict[str, str | None] = {
    "0001-01-01T05:00:00+09:00": None,
    "2024-06-28T09:30:00[America/New_York]": "2024-06-28T13:30:00Z",
    "2024-06-28T09:30:00-04:00[America/New_York]": "2024-06-28T13:30:00Z",
    "2024-06-28T09:30:00-05:00[America/New_York]": None,
    "2024-06-28T09:30:00+26:00": None,
    "2024-06-28T09:30:00 -04:00": "2024-06-28T13:30:00Z",
    "2024-06-28T09:30:00EST": None,
    "2024-06-28T09:30:00 America/New_York": "2024-06-28T13:30:00Z",
    "2024-06-28T09:30:00-0400": "2024-06-28T13:30:00Z",
    "2024-06-28T093000-04": "2024-06-28T13:30:00Z",
    "2024-W26-5T09:30:00Z": "2024-06-28T09:30:00Z",
    "2024-06-28T09:30:00+14:00": "2024-06-27T19:30:00Z",
    "2024-06-28T09:30:00-12:00": "2024-06-28T21:30:00Z",
    "2024-06-28T09:30:00+23:59": "2024-06-27T09:31:00Z",
    "2024-06-28T09:30:00-00:00": "2024-06-28T09:30:00Z",
    "1883-11-18T12:00:00-04:56:02": "1883-11-18T16:56:02Z",
    # Skipped and doubled by a change of clocks.
    "2024-03-10T02:30:00[America/New_York]": None,
    "2024-11-03T01:30:00[America/New_York]": None,
    "2024-11-03T01:30:00-05:00[America/New_York]": "2024-11-03T06:30:00Z",
    "2016-12-31T23:59:60Z": None,
    "2024-06-28T24:00:00Z": "2024-06-29T00:00:00Z",
    "0000-06-28T00:00:00Z": None,
    "-0044-03-15T00:00:00Z": None,
    "12024-06-28T00:00:00Z": None,
    "2024-06-28": "2024-06-28T00:00:00Z",
    "2024-06-28t09:30:00z": "2024-06-28T09:30:00Z",
    "2024-06-28T09:30:00,25Z": "2024-06-28T09:30:00.25Z",
    "2024-06-28T09:30:00.123456000000Z": "2024-06-28T09:30:00.123456Z",
    "2024-06-28T09:30:00.1234567891Z": None,
    "2024-06-28T09:30Z": "2024-06-28T09:30:00Z",
    "20240628T093000Z": "2024-06-28T09:30:00Z",
    "2024-06-28 09:30:00 UTC": "2024-06-28T09:30:00Z",
    # For ever, and the beginning of time. Nanoseconds in 64 bits reach neither.
    "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z",
    "9999-12-31": "9999-12-31T00:00:00Z",
    "9999-12-31T23:59:59-01:00": None,
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00Z",
    "1677-09-21T00:12:43.145224Z": "1677-09-21T00:12:43.145224Z",
    "2262-04-11T23:47:16.854776Z": "2262-04-11T23:47:16.854776Z",
}

# Of a column of dates.
DAYS: dict[str, str | None] = {
    "2024-06-28T00:00:00": "2024-06-28",
    "2024-06-28T00:00:00.000Z": "2024-06-28",
    "20240628": "2024-06-28",
    "9999-12-31": "9999-12-31",
    "0001-01-01": "0001-01-01",
    "0000-01-01": None,
    "2024-06-28T00:00:00-04:00": None,
    "2024-06-28T09:30:00": None,
}

# A record's members as JSON text, its row, and which columns are noted: NULLED or TRUNCATED.
PROPERTIES = {"id": ID, "text": TEXT, "number": NUMBER, "object": JSON, "day": DAY}
EXTRA = "additional_properties"
NULLED, MENDED = ("NULLED", "DESTINATION_TYPECAST_ERROR"), ("TRUNCATED", "SOURCE_SERIALIZATION_ERROR")
Notes = dict[str, tuple[str, str]]

# Numbers that a key can have, and some that it cannot.
KEYS = ["0", "0.5", "12345678901234567890", "0.000000000000000001", "1e19", "0.30000000000000004"]
NO_KEYS = ["1e20", "1e-20", "1e300", "1234567890123456789012345678901234567890", "0.1234567890123456789"]

DEEP = '{"a":' * 65 + "1" + "}" * 65
STRUCTURES: dict[str, tuple[str, dict[str, object], Notes]] = {
    "half of a pair": (r'"text":"a\ud800"', {"text": "a\ufffd"}, {"text": MENDED}),
    "half of a pair within": (r'"object":{"k\udc00":1}', {"object": {"k\ufffd": 1}}, {"object": MENDED}),
    "half of a pair beside": (r'"u":"\ud800"', {EXTRA: {"u": "\ufffd"}}, {EXTRA: MENDED}),
    "half of a pair in a name": (r'"u\ud800":1', {EXTRA: {"u\ufffd": 1}}, {EXTRA: MENDED}),
    "a whole pair": (r'"text":"\ud83d\ude00","u":"\ud83d\ude00"', {"text": "😀", EXTRA: {"u": "😀"}}, {}),
    "a control character": ('"text":"a\x01b","object":{"k\x02":"\x03"}', {"text": "a\x01b", "object": {"k\x02": "\x03"}}, {}),
    "a NUL": (r'"text":"a\u0000b","u":"\u0000"', {"text": "a\0b", EXTRA: {"u": "\0"}}, {}),
    "a repeated key within": ('"object":{"a":1,"b":{"c":1,"c":2},"a":3}', {"object": {"b": {"c": 2}, "a": 3}}, {"object": MENDED}),
    "a repeated key beside": ('"u":1,"u":2', {EXTRA: {"u": 2}}, {EXTRA: MENDED}),
    "a repeated key in a list beside": ('"u":[{"a":1,"a":2}]', {EXTRA: {"u": [{"a": 2}]}}, {EXTRA: MENDED}),
    "a repeated field": ('"text":"a","text":"b"', {"text": "b"}, {"text": MENDED}),
    "deep": (f'"object":{DEEP}', {"object": DEEP}, {"object": MENDED}),
    "deep beside": (f'"u":{DEEP}', {EXTRA: {"u": DEEP}}, {EXTRA: MENDED}),
    "deep in a text": (f'"text":{DEEP}', {"text": DEEP}, {"text": MENDED}),
    "no number": ('"number":NaN', {EXTRA: {"number": "NaN"}}, {"number": NULLED}),
    "no number within": ('"object":{"a":[Infinity,-Infinity]}', {"object": {"a": ["Infinity", "-Infinity"]}}, {"object": MENDED}),
    "no number in a text": ('"text":-Infinity', {"text": "-Infinity"}, {"text": MENDED}),
    "beyond a double": ('"number":1e400', {EXTRA: {"number": "1e400"}}, {"number": NULLED}),
    "nearly nothing": ('"number":1e-400', {EXTRA: {"number": "1e-400"}}, {"number": NULLED}),
    "a huge exponent": ('"number":1e999999999', {EXTRA: {"number": "1e999999999"}}, {"number": NULLED}),
    "beyond a double within": ('"object":{"a":1e999999999}', {"object": {"a": "1e999999999"}}, {"object": MENDED}),
    "a number in a text": ('"text":1.50', {"text": "1.50"}, {}),
    "an object in a number": ('"number":{"a":1}', {EXTRA: {"number": {"a": 1}}}, {"number": NULLED}),
    "an object in a date": ('"day":{"a":1}', {EXTRA: {"day": {"a": 1}}}, {"day": NULLED}),
}
