"""The security classes: severity is what an attacker gains when the finding is true."""

from sutazai.analysis.findings import Confidence, FindingType, Severity
from sutazai.analysis.rule import Rule


def _rule(
    name: str,
    severity: str,
    cwe: int,
    description: str,
    suggestion: str,
    codes: str = "",
    confidence: str = "medium",
) -> Rule:
    return Rule(
        name,
        FindingType.SECURITY,
        Severity(severity),
        cwe,
        description,
        suggestion,
        tuple(codes.split()),
        Confidence(confidence),
    )


_INJECTION = (
    _rule(
        "sql-injection",
        "medium",
        89,
        "SQL is built from strings, so a value inside it can change the statement.",
        "Write placeholders into the statement and pass the values separately, "
        "as in `execute(sql, (value,))`.",
        "S608 B608 S610 B610 S611 B611",
    ),
    _rule(
        "command-injection",
        "high",
        78,
        "A shell runs a command line that is put together at run time.",
        "Pass the program and its arguments as a list to `subprocess.run` without `shell=True`.",
        "S602 B602 S604 B604 S605 B605 S601 B601 S609 B609",
    ),
    _rule(
        "code-injection",
        "high",
        95,
        "Text is executed as Python code.",
        "Use `ast.literal_eval` for literals, or a table of the functions that may be called.",
        "S307 B307 S102 B102",
    ),
    _rule(
        "template-injection",
        "high",
        1336,
        "A template is compiled from text that is not a constant.",
        "Keep the template constant and hand the values to it as context.",
    ),
    _rule(
        "cross-site-scripting",
        "high",
        79,
        "HTML is produced without escaping the values in it.",
        "Leave autoescaping on and pass values as template variables; mark only constants as safe.",
        "S701 B701 S702 B702 S704 B704 S308 B308 B703",
    ),
    _rule(
        "path-traversal",
        "high",
        22,
        "A name from outside becomes part of a path without a check.",
        "Resolve the joined path and make sure that it still lies below the base folder "
        "(`Path.is_relative_to`), or take only the last part of the name.",
    ),
    _rule(
        "unsafe-archive-extraction",
        "medium",
        22,
        "An archive is unpacked without checking where its members would land.",
        "Call `extractall(..., filter='data')`, which refuses members outside the target.",
        "S202 B202",
    ),
    _rule(
        "server-side-request-forgery",
        "high",
        918,
        "The address of an outgoing request comes from the incoming request.",
        "Look the address up in a list of allowed hosts before connecting.",
    ),
    _rule(
        "url-scheme-unchecked",
        "low",
        22,
        "`urlopen` also opens `file:` addresses, and this address is not a constant.",
        "Check that the address starts with `https://` (or `http://`) before opening it.",
        "S310 B310",
        "low",
    ),
    _rule(
        "open-redirect",
        "medium",
        601,
        "The target of a redirect comes from the request.",
        "Redirect only to paths of your own site, or to a list of known addresses.",
    ),
)

_SECRETS_AND_CRYPTOGRAPHY = (
    _rule(
        "hardcoded-secret",
        "high",
        798,
        "A secret stands in the source, readable by everyone who can read the code.",
        "Read it from the environment or a secret store, and replace the exposed value.",
        "S105 B105 S106 B106 S107 B107",
    ),
    _rule(
        "weak-hash",
        "medium",
        327,
        "MD5 and SHA-1 no longer resist forgery.",
        "Use `hashlib.sha256`, for passwords argon2 or `hashlib.scrypt`; "
        "where it is only a checksum say `usedforsecurity=False`.",
        "S324 B324 S303 B303",
    ),
    _rule(
        "weak-password-hash",
        "high",
        916,
        "A password is hashed with a fast hash, so a stolen table is guessed quickly.",
        "Use argon2 or `hashlib.scrypt` with a salt of its own for each password.",
    ),
    _rule(
        "weak-cipher",
        "high",
        327,
        "The cipher or its mode is broken.",
        "Use AES-GCM or ChaCha20-Poly1305 from the `cryptography` package.",
        "S304 B304 S305 B305",
    ),
    _rule(
        "weak-key",
        "medium",
        326,
        "The key is too short to resist today's attacks.",
        "Use RSA keys of 3072 bits or more, or curve P-256 or Ed25519.",
        "S505 B505",
    ),
    _rule(
        "predictable-random",
        "medium",
        330,
        "A secret value comes from `random`, whose output can be predicted.",
        "Use the `secrets` module, for example `secrets.token_urlsafe(32)`.",
        "S311 B311",
    ),
    _rule(
        "timing-unsafe-comparison",
        "low",
        208,
        "A secret is compared with `==`, whose time tells how much of it was right.",
        "Compare with `hmac.compare_digest`.",
    ),
    _rule(
        "token-not-verified",
        "critical",
        347,
        "A signed token is decoded without checking its signature.",
        "Pass the key and `algorithms=[...]` and leave verification on.",
    ),
)

_TRANSPORT = (
    _rule(
        "certificate-not-verified",
        "high",
        295,
        "The server's certificate is not checked, so anyone on the way can read and change "
        "the traffic.",
        "Leave verification on; for a private authority pass its certificate as `verify`.",
        "S501 B501 S323 B323",
    ),
    _rule(
        "weak-tls",
        "high",
        327,
        "An outdated TLS or SSL version is allowed.",
        "Use `ssl.create_default_context()`.",
        "S502 B502 S503 B503 S504 B504",
    ),
    _rule(
        "host-key-not-verified",
        "high",
        295,
        "Any SSH host key is accepted, so another machine can pose as the server.",
        "Load the known host keys and use `paramiko.RejectPolicy`.",
        "S507 B507",
    ),
    _rule(
        "cleartext-protocol",
        "medium",
        319,
        "The protocol sends passwords and data unencrypted.",
        "Use SSH or SFTP, or the protocol's TLS variant.",
        "S312 B312 S321 B321 S508 B508 S509 B509",
    ),
    _rule(
        "missing-timeout",
        "medium",
        400,
        "The request has no timeout: a silent server blocks the caller for ever.",
        "Pass `timeout=`, for example `timeout=10`.",
        "S113 B113",
        "high",
    ),
    _rule(
        "binds-all-interfaces",
        "low",
        605,
        "The server listens on every network interface.",
        "Bind to `127.0.0.1` unless other machines are meant to connect.",
        "S104 B104",
    ),
)

_DATA_AND_SYSTEM = (
    _rule(
        "unsafe-deserialization",
        "high",
        502,
        "Unpickling runs whatever code the data's author put there.",
        "Use JSON or msgpack for data from outside, or sign the bytes and check before loading.",
        "S301 B301 S302 B302 B614 B615",
    ),
    _rule(
        "unsafe-yaml",
        "high",
        502,
        "This YAML loader builds any Python object the document asks for.",
        "Use `yaml.safe_load`.",
        "S506 B506",
        "high",
    ),
    _rule(
        "unsafe-xml",
        "low",
        611,
        "The XML parser expands entities, so a small document can exhaust memory.",
        "Parse documents from outside with the `defusedxml` package.",
        "S313 B313 S314 B314 S315 B315 S316 B316 S317 B317 S318 B318 S319 B319",
        "low",
    ),
    _rule(
        "insecure-temporary-file",
        "medium",
        377,
        "The temporary file's name can be taken by another user before it is opened.",
        "Use `tempfile.NamedTemporaryFile` or `tempfile.mkstemp`.",
        "S306 B306 S108 B108",
    ),
    _rule(
        "permissive-file-mode",
        "medium",
        732,
        "The file becomes writable or executable for everyone.",
        "Use a mode such as `0o600` or `0o640`.",
        "S103 B103",
    ),
    _rule(
        "debug-mode",
        "high",
        489,
        "Debug mode lets whoever sees an error page run code on the server.",
        "Turn it on from the environment during development only.",
        "S201 B201",
        "high",
    ),
    _rule(
        "logging-listener",
        "medium",
        94,
        "`logging.config.listen` runs code from whoever can connect.",
        "Pass `verify=` and check a signature there, or load the configuration from a file.",
        "S612 B612",
    ),
    _rule(
        "bidirectional-text",
        "high",
        838,
        "Invisible direction marks make the code read differently from what it does.",
        "Delete the marks, or write them as escapes such as `\\u202e`.",
        "PLE2502",
        "high",
    ),
    _rule(
        "assert-used",
        "low",
        617,
        "An assert checks something at run time, and `python -O` removes it.",
        "Raise an exception of the fitting type instead.",
        "S101 B101",
        "low",
    ),
)

SECURITY = (*_INJECTION, *_SECRETS_AND_CRYPTOGRAPHY, *_TRANSPORT, *_DATA_AND_SYSTEM)
