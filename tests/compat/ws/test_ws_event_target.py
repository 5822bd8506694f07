"""The event classes of lws_gevent.compat.ws."""

from __future__ import annotations

from parity import case

from lws_gevent.compat.ws import CloseEvent, ErrorEvent, Event, MessageEvent

FILE = "event-target.test.js"


@case(FILE, "Event > #ctor > takes a `type` argument")
def test_an_event_has_a_type() -> None:
    assert Event("foo").type == "foo"


@case(FILE, "Event > Properties > `target` > defaults to `null`")
def test_a_new_event_has_no_target() -> None:
    assert Event("foo").target is None


@case(FILE, "CloseEvent > inherits from `Event`")
def test_a_close_event_is_an_event() -> None:
    assert issubclass(CloseEvent, Event)


@case(FILE, "CloseEvent > #ctor > takes a `type` argument")
def test_a_close_event_has_a_type() -> None:
    assert CloseEvent("foo").type == "foo"


@case(FILE, "CloseEvent > #ctor > takes an optional `options` argument")
def test_a_close_event_takes_options() -> None:
    event = CloseEvent("close", {"code": 1000, "reason": "foo", "wasClean": True})
    assert (event.type, event.code, event.reason, event.wasClean) == ("close", 1000, "foo", True)


@case(FILE, "CloseEvent > Properties > `code` > defaults to 0")
def test_a_new_close_event_has_code_0() -> None:
    assert CloseEvent("close").code == 0


@case(FILE, "CloseEvent > Properties > `reason` > defaults to an empty string")
def test_a_new_close_event_has_no_reason() -> None:
    assert CloseEvent("close").reason == ""


@case(FILE, "CloseEvent > Properties > `wasClean` > defaults to false")
def test_a_new_close_event_is_not_clean() -> None:
    assert CloseEvent("close").wasClean is False


@case(FILE, "ErrorEvent > inherits from `Event`")
def test_an_error_event_is_an_event() -> None:
    assert issubclass(ErrorEvent, Event)


@case(FILE, "ErrorEvent > #ctor > takes a `type` argument")
def test_an_error_event_has_a_type() -> None:
    assert ErrorEvent("foo").type == "foo"


@case(FILE, "ErrorEvent > #ctor > takes an optional `options` argument")
def test_an_error_event_takes_options() -> None:
    error = Exception("Oops")
    event = ErrorEvent("error", {"error": error, "message": str(error)})
    assert (event.type, event.error, event.message) == ("error", error, "Oops")


@case(FILE, "ErrorEvent > Properties > `error` > defaults to `null`")
def test_a_new_error_event_has_no_error() -> None:
    assert ErrorEvent("error").error is None


@case(FILE, "ErrorEvent > Properties > `message` > defaults to an empty string")
def test_a_new_error_event_has_no_message() -> None:
    assert ErrorEvent("error").message == ""


@case(FILE, "MessageEvent > inherits from `Event`")
def test_a_message_event_is_an_event() -> None:
    assert issubclass(MessageEvent, Event)


@case(FILE, "MessageEvent > #ctor > takes a `type` argument")
def test_a_message_event_has_a_type() -> None:
    assert MessageEvent("foo").type == "foo"


@case(FILE, "MessageEvent > #ctor > takes an optional `options` argument")
def test_a_message_event_takes_options() -> None:
    event = MessageEvent("message", {"data": "bar"})
    assert (event.type, event.data) == ("message", "bar")


@case(FILE, "MessageEvent > Properties > `data` > defaults to `null`")
def test_a_new_message_event_has_no_data() -> None:
    assert MessageEvent("message").data is None
