"""Remove every permission that has its scenario, one by one, and see the scenario fail; `make policies` runs it and writes the page.

Its name hides it from `make test`: it takes about ten minutes.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.cloud import Wanted, running
from retake.rules.states import ENDED, Held, State
from tests.policies import scenarios
from tests.policies.permissions import PAGE, PROVEN, REASONED, Permission, listed, page, permissions
from tests.policies.scenarios import Denied, Scenario, Scene

PLAYS = sorted({(role, scenario) for (role, _, _), scenario in PROVEN.items()}, key=str)
UNENFORCED = [
    ("SubmitRole", scenarios.a_drop_is_delivered),
    ("SubmitRole", scenarios.a_broken_note_is_refused),
    ("SweepRole", scenarios.a_lost_answer_is_found),
    ("SettleRole", scenarios.an_event_that_settle_does_not_take),
]
REMOVALS = [permission for permission in permissions() if permission.name in PROVEN]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, clip: Path, look: Path) -> Iterator[Scene]:
    wanted = Wanted(wait_scale=0.005, daily_budget_usd=100_000, simulator=("--render-seconds", "0.3"))
    with running(wanted, tmp_path_factory.mktemp("policies")) as cloud:
        scene = Scene(cloud, clip, look)
        cloud.client("events").disable_rule(Name=scene.names["SweepFunctionEveryMinute"])  # it would heal what shall fail
        attributes = {"VisibilityTimeout": "4", "RedrivePolicy": ""}  # what was denied comes back soon, however often it was
        for queue in ("DropQueueUrl", "NoticeQueueUrl"):
            scene.sqs.set_queue_attributes(QueueUrl=cloud.outputs[queue], Attributes=attributes)
        yield scene


@pytest.mark.parametrize(("role", "scenario"), PLAYS, ids=lambda value: getattr(value, "__name__", value))
def test_with_all_permissions(scene: Scene, role: str, scenario: Scenario) -> None:
    play = begin(scene, role, scenario, "all")
    next(play, None)
    heal(scene)


@pytest.mark.parametrize("permission", REMOVALS, ids=lambda permission: "-".join(permission.name).replace("/", "_"))
def test_without(scene: Scene, permission: Permission) -> None:
    play = begin(scene, permission.role, PROVEN[permission.name], "-".join(permission.name[1:]).replace("/", "-").replace("*", ""))
    try:
        with removed(scene, permission), pytest.raises(Denied) as denied:
            next(play, None)
        print(denied.value)
    finally:
        heal(scene)


def test_without_all_that_is_not_enforced(scene: Scene) -> None:
    try:
        with removed(scene, *(permission for permission in permissions() if permission.name in REASONED)):
            for role, scenario in UNENFORCED:
                next(begin(scene, role, scenario, "not-enforced"), None)
    finally:
        heal(scene)


def test_write_the_page(request: pytest.FixtureRequest) -> None:
    if request.session.testsfailed or len(request.session.items) != len(PLAYS) + len(REMOVALS) + 2:
        pytest.skip("only after all removals have shown what they should")
    PAGE.write_text(page())


def begin(scene: Scene, role: str, scenario: Scenario, name: str) -> Iterator[None]:
    """Play a scenario as far as all permissions are needed."""
    scene.role, scene.since = role, 0
    scene.key = f"{role}/{scenario.__name__}/{name.replace(':', '-')}.mp4"
    play = scenario(scene)
    next(play)
    return play


@contextmanager
def removed(scene: Scene, *gone: Permission) -> Iterator[None]:
    """Take permissions away; the rest of their statements stays."""
    iam, before = scene.cloud.client("iam"), []
    for role, policy in {(permission.role, permission.policy) for permission in gone}:
        name = {"RoleName": scene.names[role], "PolicyName": policy}
        document = iam.get_role_policy(**name)["PolicyDocument"]
        before.append(name | {"PolicyDocument": json.dumps(document)})
        places = {(each.statement, each.action, each.number) for each in gone if (each.role, each.policy) == (role, policy)}
        rest = [
            statement | {"Action": action, "Resource": left}
            for position, statement in enumerate(document["Statement"])
            for action in listed(statement["Action"])
            if (left := [to for number, to in enumerate(listed(statement["Resource"])) if (position, action, number) not in places])
        ]
        if rest:
            iam.put_role_policy(**name, PolicyDocument=json.dumps(document | {"Statement": rest}))
        else:
            iam.delete_role_policy(**name)
    scene.since = int(time.time() * 1000)
    try:
        yield
    finally:
        for policy in before:
            iam.put_role_policy(**policy)
        scene.since = 0


def heal(scene: Scene) -> None:
    """Let everything that was denied go on to its end, so that the next scenario stands alone."""
    scene.segmind("PUT", "/_simulator/settings", json={"file_life_seconds": 7 * 86400})
    scene.lift()

    def over() -> bool:
        left = [job for job in scene.jobs() if job.get("held") != Held.ATTENTION]
        if all(State(job["state"]) in ENDED and "queue" not in job for job in left):
            return True
        scene.due_now()
        scene.sweep()
        return False

    scene.eventually(over, "an end of all jobs")
    scene.quiet()
