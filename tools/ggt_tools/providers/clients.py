"""Keys, clients of the providers' SDKs, and the translation of their errors.

No key leaves this module: keys are replaced in texts from outside, and the SDKs' exceptions, which contain requests and
their headers, are not chained to ours.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.codes import ProviderError, find_error
from ggt_tools.providers.envelope import DEFLATED, compressions, inflate
from ggt_tools.providers.faults import (
    UNREADABLE,
    BadReply,
    ErrorReply,
    hide_secret,
    retry_after,
    retry_delay,
    sanitize,
    translate_fault,
)
from ggt_tools.providers.fetch import FetchConfig, fetch
from ggt_tools.providers.protocol import Setting

if TYPE_CHECKING:
    from google.genai import Client as GeminiClient
    from httpx2 import Response
    from openai import OpenAI

SERVICE = "ggt100k"  # name of the service in the keyring
GEMINI_KEY, OPENAI_KEY, COMPATIBLE_KEY = "GEMINI_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"
MAX_REPLY_BYTES = 100 * 1024 * 1024  # two images of 4096 x 4096 px as base64
MAX_ERROR_BYTES = 1024 * 1024  # larger replies are not searched for errors
MAX_TIMEOUT = 24 * 3600.0  # seconds
MAX_BATCH_BYTES, MAX_BATCH_SECONDS = 8 * 1024**3, 4 * 3600.0  # for downloading the results of a batch job


def read_key(variable: str) -> str:
    """Return the key of an environment variable, else of the keyring if `keyring` is installed.

    Raises:
        ConfigError: There is no key, or it has invalid characters. The message never contains a key.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        value = (_from_keyring(variable) or "").strip()
    if not value:
        raise ConfigError(
            f"{variable}: is not set. Export it, or store it in the keyring: pip install keyring; "
            f"keyring set {SERVICE} {variable}"
        )
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(f"{variable}: has characters that a key cannot have. Set it again.")
    hide_secret(value)
    return value


def _from_keyring(variable: str) -> str | None:
    try:
        keyring = import_module("keyring")
    except ImportError:
        return None
    try:
        value: str | None = keyring.get_password(SERVICE, variable)
        return value
    except Exception:  # each backend has its own exceptions, whose texts may contain the key
        raise ConfigError(
            f"{variable}: is not set, and the keyring cannot be read. Unlock the keyring, or set the variable."
        ) from None


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_base_url(url: str, *, insecure: bool) -> str:
    """Check a base URL, and return it.

    Args:
        url: The URL.
        insecure: Whether http is allowed, which sends the key unencrypted.

    Raises:
        ConfigError: It is not a URL, would send a key unencrypted, or may contain a key.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"--base-url {sanitize(url)}: is not a URL. Give one such as https://host/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"--base-url with host {host}: has more than host and path. Set keys as environment variables instead."
        )
    if parts.scheme == "http" and not is_loopback(host) and not insecure:
        raise ConfigError(
            f"--base-url {url}: http sends the key unencrypted. Give an https URL, or --option insecure=yes in a "
            "private network."
        )
    return url


def gemini_client(setting: Setting, *, max_bytes: int = MAX_REPLY_BYTES, max_seconds: float = 0.0) -> GeminiClient:
    """Return a client of Gemini, or of a server with the same API. It does not retry or follow redirects.

    Args:
        setting: Base URL, timeout and options.
        max_bytes: Maximum size of a reply in bytes.
        max_seconds: Maximum time for a whole reply in seconds; 0 for the timeout of the setting.

    Raises:
        ConfigError: A package or the key is missing, or the URL is wrong.
    """
    try:
        from google import genai
    except ImportError:
        raise ConfigError("google-genai is not installed. Install it: pip install 'ggt100k[models]'") from None
    url = setting.base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL", "")
    base = check_base_url(url, insecure=_insecure(setting)) if url else None
    transport = _transport(max_seconds or setting.timeout, max_bytes)
    options = genai.types.HttpOptions(
        base_url=base,
        api_version="v1beta",  # the version that has previews of models
        timeout=max(1, round(setting.timeout * 1000)),
        client_args=transport,
        retry_options=genai.types.HttpRetryOptions(attempts=1),
    )
    return genai.Client(api_key=read_key(GEMINI_KEY), vertexai=False, http_options=options)


def openai_client(
    setting: Setting, *, variable: str = OPENAI_KEY, max_bytes: int = MAX_REPLY_BYTES, max_seconds: float = 0.0
) -> OpenAI:
    """Return a client of OpenAI, or of a server with the same API; see gemini_client() for arguments and errors."""
    url = setting.base_url or os.environ.get("OPENAI_BASE_URL", "") or "https://api.openai.com/v1"
    return _openai(
        setting, check_base_url(url, insecure=_insecure(setting)), read_key(variable), max_bytes, max_seconds
    )


def compatible_client(setting: Setting) -> OpenAI:
    """Return a client of any server with the API of OpenAI; see gemini_client() for arguments and errors.

    A server on this machine needs no key.
    """
    url = setting.base_url or os.environ.get("OPENAI_COMPATIBLE_BASE_URL", "")
    if not url:
        raise ConfigError(
            "openai-compatible: the server's address is missing. Give --base-url or set OPENAI_COMPATIBLE_BASE_URL."
        )
    check_base_url(url, insecure=_insecure(setting))
    try:
        key = read_key(COMPATIBLE_KEY)
    except ConfigError:
        if os.environ.get(COMPATIBLE_KEY, "").strip() or not is_loopback(urlsplit(url).hostname or ""):
            raise
        key = "none"
    return _openai(setting, url, key, MAX_REPLY_BYTES, 0.0)


def _openai(setting: Setting, url: str, key: str, max_bytes: int, max_seconds: float) -> OpenAI:
    try:
        import openai
    except ImportError:
        raise ConfigError("openai is not installed. Install it: pip install 'ggt100k[models]'") from None
    client = openai.DefaultHttpxClient(**_transport(max_seconds or setting.timeout, max_bytes))
    return openai.OpenAI(api_key=key, base_url=url, timeout=setting.timeout, max_retries=0, http_client=client)


def _insecure(setting: Setting) -> bool:
    return setting.options.get("insecure", "no") == "yes"


def _transport(timeout: float, max_bytes: int) -> dict[str, Any]:
    """Return arguments of an httpx2 client without redirects, which might send the key to another host.

    httpx2 limits only the time between two packets, so size and time of a whole reply are limited here. A reply with
    status 200 that contains an error gets the status that the error states, so that both SDKs treat it as an error. The
    large files of batch jobs (`max_bytes` above MAX_REPLY_BYTES) are not searched for errors.
    """
    import httpx2

    if not 0 < timeout <= MAX_TIMEOUT:
        raise ConfigError(f"--timeout {timeout:g}: must be above 0 and at most {MAX_TIMEOUT:g} seconds.")

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, inner: Any, *, deflated: bool) -> None:
            self._inner, self._deflated, self._end = inner, deflated, time.monotonic() + timeout

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            try:
                for part in inflate(self._inner) if self._deflated else self._inner:
                    size += len(part)
                    if size > max_bytes:
                        raise BadReply(f"its answer is larger than {max_bytes} bytes")
                    if time.monotonic() > self._end:
                        raise httpx2.ReadTimeout("the whole answer takes too long")
                    yield part
            except ValueError as fault:  # of inflate()
                raise BadReply(str(fault)) from None

        def close(self) -> None:
            self._inner.close()

    def unwrap(response: Response) -> None:
        encodings = compressions(response.headers.get("content-encoding", ""))
        if len(encodings) > 1 or not DEFLATED.issuperset(encodings):
            raise BadReply(f"its answer is compressed by {', '.join(encodings)}, which was not requested")
        response.stream = Bounded(response.stream, deflated=bool(encodings))
        response.headers.pop("content-encoding", None)  # keeps the SDK from decoding it again
        if response.status_code == 200 and not (max_bytes > MAX_REPLY_BYTES and response.request.method == "GET"):
            response.status_code = _status_within(response.read())

    return {
        "follow_redirects": False,
        "headers": {"Accept-Encoding": "identity"},
        "event_hooks": {"response": [unwrap]},
        "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=256),
    }


def _status_within(content: bytes) -> int:
    """Return 200, or the status that an error in the reply states."""
    if len(content) > MAX_ERROR_BYTES:
        return 200
    try:
        error = find_error(json.loads(content))
    except (ValueError, RecursionError):
        return 200  # the SDK will report what is wrong
    return error.status if error else 200


def _error_of(response: Any) -> ProviderError:
    """Return the error object of a reply, or its text if it is not JSON."""
    try:
        body = json.loads(response.content)
    except UNREADABLE:
        return ProviderError(sanitize(getattr(response, "text", "")))
    return find_error(body) or ProviderError(body)


@contextmanager
def gemini_faults(model: str) -> Iterator[None]:
    """Translate the exceptions of a call of google-genai, as a context manager.

    Raises:
        TransientError: rate_limited, server_error, timeout, cut_off or unavailable.
        PairError: refused, bad_request or bad_reply.
        ConfigError: The key, the account or the model's name is wrong, or the quota is used up.
    """
    from google.genai import errors

    try:
        yield
    except errors.APIError as fault:
        provider_error = _error_of(fault.response)
        error = ErrorReply(
            model=model,
            variable=GEMINI_KEY,
            status=fault.code if isinstance(fault.code, int) else 0,
            error=provider_error,
            wait=max(retry_after(getattr(fault.response, "headers", {})), retry_delay(provider_error)),
        ).translate()
    except Exception as fault:
        error = translate_fault(model, fault)
    else:
        return
    raise error from None


@contextmanager
def openai_faults(model: str, *, variable: str = OPENAI_KEY) -> Iterator[None]:
    """Translate the exceptions of a call of openai, as gemini_faults() does."""
    import openai

    try:
        yield
    except openai.APIStatusError as fault:
        provider_error = _error_of(fault.response)
        error = ErrorReply(
            model=model,
            variable=variable,
            status=fault.status_code,
            error=provider_error,
            wait=max(retry_after(fault.response.headers), retry_delay(provider_error)),
        ).translate()
    except openai.ContentFilterFinishReasonError:
        error = PairError("refused", f"{model}: refuses: its content filter stopped the answer", paid=True)
    except Exception as fault:
        error = translate_fault(model, fault)
    else:
        return
    raise error from None


def batch_lines(path: Path, model: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a batch job's results, one JSON object at a time.

    Raises:
        PairError: `bad_reply`: a line is not a JSON object.
    """
    with path.open("rb") as file:
        for number in count(1):
            line = file.readline(MAX_REPLY_BYTES)
            if not line:
                return
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise PairError(
                    "bad_reply", f"{model}: line {number} of the batch's results is not a JSON object", paid=True
                )
            yield value


def fetch_image(url: str, model: str, base_url: str, timeout: float, *, other_hosts: bool) -> bytes:
    """Download the image whose URL a reply states, at most 50 MB. The key is not sent.

    Args:
        url: The URL.
        model: Name of the model, for messages.
        base_url: Address of the server.
        timeout: Seconds for the download.
        other_hosts: Whether the image may be on another public host.

    Raises:
        PairError, TransientError: The image cannot be downloaded, although it was paid.
    """
    try:
        server, image = urlsplit(base_url), urlsplit(url)
        host = sanitize(image.hostname)
        is_same_host = (image.scheme, image.hostname, image.port) == (server.scheme, server.hostname, server.port)
    except ValueError:
        raise PairError("bad_reply", f"{model}: the address of its image is not a URL", paid=True) from None
    if not is_same_host and not other_hosts:
        message = f"{model}: its image is on another host, {host}. Allow that with --option other_hosts=yes, and retry."
        raise PairError("bad_reply", message, paid=True)
    config = FetchConfig(timeout=timeout, allow_private=is_same_host, redirects=0 if is_same_host else 5)
    try:
        return fetch(url, host, config)
    except PairError as fault:
        message = f"{model}: its image at {host} cannot be downloaded: {fault.reason}"
        if fault.reason == "unreachable":
            raise TransientError(message, reason="cut_off", paid=True) from None
        raise PairError("bad_reply", message, paid=True) from None
