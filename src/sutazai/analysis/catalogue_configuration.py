"""The security classes of templates, configuration files, and a project taken as a whole."""

from sutazai.analysis.findings import Confidence, FindingType, Severity
from sutazai.analysis.rule import Rule


def _rule(
    name: str,
    severity: str,
    cwe: int,
    description: str,
    suggestion: str,
    confidence: str = "high",
) -> Rule:
    return Rule(
        name,
        FindingType.SECURITY,
        Severity(severity),
        cwe,
        description,
        suggestion,
        (),
        Confidence(confidence),
    )


CONFIGURATION = (
    _rule(
        "unescaped-output",
        "high",
        79,
        "A template writes a value into the page without escaping it.",
        "Leave escaping on, and mark as safe only what was made safe.",
        "medium",
    ),
    _rule(
        "missing-csrf-token",
        "medium",
        352,
        "A form that changes something carries no token against forged requests.",
        "Put the framework's token into the form, such as `{% csrf_token %}`.",
        "medium",
    ),
    _rule(
        "missing-authorisation",
        "high",
        862,
        "A route changes something and asks nobody who they are, unlike those beside it.",
        "Guard it as the others are guarded, or say in a comment why it is open.",
        "medium",
    ),
    _rule(
        "privileged-container",
        "high",
        250,
        "A container gets more power over its host than it needs.",
        "Take the privilege away; where one is needed, give that one alone.",
    ),
    _rule(
        "container-runs-as-root",
        "medium",
        250,
        "The image's process runs as root.",
        "Make a user in the image and switch to it with `USER`.",
    ),
    _rule(
        "unpinned-image",
        "low",
        829,
        "What is fetched can be something else tomorrow.",
        "Name a version, best with its digest or full commit.",
    ),
    _rule(
        "piped-installer",
        "medium",
        494,
        "A download is run as it comes, whatever it is.",
        "Download it, check its digest, then run it.",
    ),
    _rule(
        "cleartext-download",
        "medium",
        319,
        "Something is fetched without TLS, or without checking whose it is.",
        "Use https and leave the check on.",
    ),
    _rule(
        "workflow-injection",
        "high",
        94,
        "Text that anybody can write becomes part of a script in a CI workflow.",
        "Hand it over as an environment variable and quote that in the script.",
    ),
    _rule(
        "privileged-workflow",
        "high",
        269,
        "A CI workflow has more rights than it needs, or lends them to strangers' code.",
        "Give `permissions` the least that works, and check out only code of your own with them.",
    ),
    _rule(
        "exposed-service",
        "medium",
        668,
        "A service that should be reached from inside only is reachable from everywhere.",
        "Bind it to 127.0.0.1, or leave its port unpublished.",
        "medium",
    ),
    _rule(
        "insecure-setting",
        "medium",
        1188,
        "A setting is weaker than it has to be.",
        "Set it to the secure value in production.",
        "medium",
    ),
)
