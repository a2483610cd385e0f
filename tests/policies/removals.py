"""Removes every permission that has a scenario, one by one, and expects the scenario to fail.

`make policies` runs this and writes the page. Its name hides it from `make test`, because it
takes about ten minutes.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.cloud import CloudConfig, running
from tests.policies import scenarios
from tests.policies.permissions import (
    PAGE,
    PROVEN,
    REASONED,
    Permission,
    page,
    permissions,
)
from tests.policies.scenarios import DeniedError, Scenario, Scene
from tests.support.template import listed

PLAYS = sorted({(role, scenario) for (role, _, _), scenario in PROVEN.items()}, key=str)
UNENFORCED = [
    ("SubmitRole", scenarios.a_drop_is_delivered),
    ("SubmitRole", scenarios.an_invalid_sidecar_is_refused),
    ("SweepRole", scenarios.a_lost_response_is_found),
    ("SettleRole", scenarios.an_event_that_settle_cannot_process_is_kept),
]
REMOVALS = [permission for permission in permissions() if permission.name in PROVEN]
OTHER_TESTS = 2  # in this module
FILE_LIFE_SECONDS = 7 * 86400


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, clip: Path, look: Path) -> Iterator[Scene]:
    """A stack on which no schedule heals what must fail, and what was denied returns soon."""
    config = CloudConfig(
        wait_scale=0.005,
        daily_budget_usd=100_000,
        simulator=("--render-seconds", "0.3"),
    )
    with running(config, tmp_path_factory.mktemp("policies")) as cloud:
        scene = Scene(cloud, clip, look)
        cloud.client("events").disable_rule(Name=scene.names["SweepFunctionEveryMinute"])
        attributes = {"VisibilityTimeout": "4", "RedrivePolicy": ""}
        for queue in ("DropQueueUrl", "MediaQueueUrl", "NotificationQueueUrl"):
            scene.sqs.set_queue_attributes(QueueUrl=cloud.outputs[queue], Attributes=attributes)
        yield scene


@pytest.mark.parametrize(
    ("role", "scenario"), PLAYS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_scenario_succeeds_with_all_permissions(
    scene: Scene, role: str, scenario: Scenario
) -> None:
    play = begin(scene, role, scenario, "all")
    next(play, None)
    heal(scene)


@pytest.mark.parametrize(
    "permission", REMOVALS, ids=lambda permission: "-".join(permission.name).replace("/", "_")
)
def test_a_scenario_fails_without_one_permission(scene: Scene, permission: Permission) -> None:
    name = "-".join(permission.name[1:]).replace("/", "-").replace("*", "")
    play = begin(scene, permission.role, PROVEN[permission.name], name)
    try:
        with removed(scene, [permission]), pytest.raises(DeniedError) as denied:
            next(play, None)
        print(denied.value)
    finally:
        heal(scene)


def test_scenarios_succeed_without_what_the_emulator_does_not_enforce(scene: Scene) -> None:
    unenforced = [
        permission
        for permission in permissions()
        if permission.name in REASONED and permission.resource != "KmsKeyArn"  # none is given
    ]
    try:
        with removed(scene, unenforced):
            for role, scenario in UNENFORCED:
                next(begin(scene, role, scenario, "not-enforced"), None)
    finally:
        heal(scene)


def test_the_page_is_written(request: pytest.FixtureRequest) -> None:
    session = request.session
    complete = len(session.items) == len(PLAYS) + len(REMOVALS) + OTHER_TESTS
    if session.testsfailed or not complete:
        pytest.skip("written only after all removals had the expected effect")
    PAGE.write_text(page())


def begin(scene: Scene, role: str, scenario: Scenario, name: str) -> Iterator[None]:
    """Play a scenario until it needs the permission in question."""
    scene.role, scene.since = role, 0
    scene.key = f"{role}/{scenario.__name__}/{name.replace(':', '-')}.mp4"
    play = scenario(scene)
    next(play)
    return play


@contextmanager
def removed(scene: Scene, gone: list[Permission]) -> Iterator[None]:
    """Remove permissions; the rest of their statements stays."""
    iam = scene.cloud.client("iam")
    originals: list[dict[str, Any]] = []
    for role, policy in {(permission.role, permission.policy) for permission in gone}:
        name = {"RoleName": scene.names[role], "PolicyName": policy}
        document = iam.get_role_policy(**name)["PolicyDocument"]
        originals.append(name | {"PolicyDocument": json.dumps(document)})
        of_policy = [each for each in gone if (each.role, each.policy) == (role, policy)]
        rest = remaining_statements(document["Statement"], of_policy)
        if rest:
            changed = json.dumps(document | {"Statement": rest})
            iam.put_role_policy(**name, PolicyDocument=changed)
        else:
            iam.delete_role_policy(**name)
    scene.since = int(time.time() * 1000)
    try:
        yield
    finally:
        for original in originals:
            iam.put_role_policy(**original)
        scene.since = 0


# The emulator asks for a permission that AWS does not have, see `local.cloud.deployment`.
_AUTHORIZED_BY = {"sqs:DeleteMessageBatch": "sqs:DeleteMessage"}


def remaining_statements(
    statements: list[dict[str, Any]], gone: list[Permission]
) -> list[dict[str, Any]]:
    """Return a policy's statements without some permissions, one action each."""
    removed_positions = {(each.statement, each.action, each.number) for each in gone}
    rest = []
    for position, statement in enumerate(statements):
        for action in listed(statement["Action"]):
            resources = [
                resource
                for number, resource in enumerate(listed(statement["Resource"]))
                if (position, _AUTHORIZED_BY.get(action, action), number) not in removed_positions
            ]
            if resources:
                rest.append(statement | {"Action": action, "Resource": resources})
    return rest


def heal(scene: Scene) -> None:
    """Let everything that was denied come to its end, so that the next scenario stands alone."""
    scene.configure_simulator(file_life_seconds=FILE_LIFE_SECONDS)
    scene.close_circuit()

    def all_settled() -> bool:
        left = [job for job in scene.jobs() if not job.needs_attention]
        if all(job.has_ended and job.follow_up is None for job in left):
            return True
        scene.make_all_due()
        scene.sweep()
        return False

    scene.eventually(all_settled, "the end of all jobs")
    scene.until_drained()
