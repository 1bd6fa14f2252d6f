// Commands to a source: before Perform, and after a restart whose engine does not know yet how far its migration is.

import { expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { openSource } from "../../../src/effects/actors.js";
import type { SettlingPeer, SourceGuest } from "../../../src/effects/ports.js";
import { askForLimits, askForPostcopy } from "../../../src/library/user-commands.js";
import { stateName } from "../../../src/machines/shared/walk.js";
import { defaultLimits } from "../../../src/protocol/convergence/limits.js";
import { defaultDeadlines } from "../../../src/protocol/deadlines.js";
import { type Answer, done } from "../../../src/protocol/effect-result.js";
import { anywhere, streamAddress } from "../../../src/protocol/peer-text.js";
import { defaultPolicy } from "../../../src/protocol/unreachable-policy.js";
import { guest, identity } from "../../support/one-guest.js";
import { gate } from "../../support/rpc-pair.js";

const prepared = { uri: streamAddress("unix:/x", anywhere), capabilities: [] };
const input = { identity, limits: defaultLimits, deadlines: defaultDeadlines, policy: defaultPolicy };

/** Each call is answered with the result of `answer`. */
const answering = <Port extends object>(
  answer: (name: string, given: unknown) => Answer<unknown> | Promise<Answer<unknown>>,
): Port =>
  new Proxy({} as Port, {
    get: (_, name: string) =>
      name === "watch" ? () => () => {} : async (given: unknown) => answer(name, given),
  });

function begun(
  sourceInput: Parameters<typeof openSource>[1],
  answer: (name: string, given: unknown) => Answer<unknown> | Promise<Answer<unknown>>,
) {
  const { actor } = openSource(
    { journal: { append: async () => {} }, clock: systemClock },
    sourceInput,
    answering<SourceGuest>(answer),
    answering<SettlingPeer>(answer),
    null,
  );
  actor.start();
  onTestFinished(() => void actor.stop());
  return actor;
}

const reaches = (actor: ReturnType<typeof begun>, state: string) =>
  vi.waitFor(() => expect(stateName(actor.getSnapshot())).toBe(state));

function restartedWhileSending() {
  const probed = gate<Answer<unknown>>();
  const memory = {
    guest,
    settings: null,
    earlier: null,
    prepared,
    limits: defaultLimits,
    postcopy: "unannounced",
    measures: [],
  } as const;
  const woken = { state: "precopying", failures: [], undone: [], memory };
  const actor = begun({ ...input, woken }, (name) => (name === "probe" ? probed.opened : done(null)));
  return { actor, probed };
}

test("limits that are set before Perform are in effect when QEMU starts to send", async () => {
  const started: unknown[] = [];
  const actor = begun(input, (name, given) => {
    if (name === "start") started.push(given);
    return done(name === "describe" ? { guest, settings: null, earlier: null } : null);
  });
  await reaches(actor, "begun");
  const tuned = askForLimits(actor, { bandwidthMiBps: 7 });
  actor.send({ type: "coordinator.performRequested", prepared });
  expect(await tuned).toMatchObject({ applied: true });
  await vi.waitFor(() => expect(started).toMatchObject([{ limits: { bandwidthMiBps: 7 } }]));
});

test.each([
  ["new limits", askForLimits],
  ["a switch to post-copy", askForPostcopy],
] as const)("%s take effect once QEMU has reported that it sends memory", async (_, ask) => {
  const { actor, probed } = restartedWhileSending();
  await reaches(actor, "probing");
  const tuned = ask(actor, { bandwidthMiBps: 7 });
  probed.open(done("sending"));
  expect(await tuned).toMatchObject({ applied: true });
});
