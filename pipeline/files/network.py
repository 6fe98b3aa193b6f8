"""The network: which setting of this machine keeps a server from being reached."""

import re

_REQUESTS_BUNDLE = "REQUESTS_CA_BUNDLE"


def reason(error: BaseException | None, bundle: str = _REQUESTS_BUNDLE) -> str:
    """Return why a proxy or certificate stopped a request, and the remedy; empty if none did.

    Args:
        error: an exception of requests, urllib3, botocore or aiohttp, or one that contains it.
        bundle: environment variable that names the file of trusted certificates.
    """
    cause = getattr(error, "sub_exception", None) or error  # of Luigi's RPCError
    text = str(cause)
    if refusal := re.search(r"Tunnel connection failed: ([^')]*)", text):
        return f"the proxy refused to connect ({refusal[1]}); check http_proxy and https_proxy"
    if "connect to proxy" in text:
        return "the proxy does not answer; correct http_proxy and https_proxy, or unset them"
    if untrusted := re.search(r"certificate verify failed: ([^('\"]*)", text):
        return (
            f"its certificate is not trusted ({untrusted[1].strip()}); if a private authority "
            f"issued it, set {bundle} to the file with the authority's certificate"
        )
    if missing := re.search(r"Could not find a suitable TLS CA .*, invalid path: (.*)", text):
        return f"{bundle} names {missing[1]}, which does not exist; correct it or unset it"
    if "NO_CERTIFICATE_OR_CRL_FOUND" in text:
        return f"{bundle} names a file without certificates; correct it or unset it"
    return ""
