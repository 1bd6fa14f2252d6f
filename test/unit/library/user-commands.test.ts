// Commands to a source whose engine was restarted during the transfer and does not know yet how far its migration is.

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

function restartedWhileSending() {
  const probed = gate<Answer<unknown>>();
  const port = <Port extends object>(): Port =>
    new Proxy({} as Port, {
      get: (_, name: string) => {
        if (name === "watch") return () => () => {};
        return async () => (name === "probe" ? probed.opened : done(null));
      },
    });
  const memory = {
    guest,
    settings: null,
    earlier: null,
    prepared: { uri: streamAddress("unix:/x", anywhere), capabilities: [] },
    limits: defaultLimits,
    postcopy: "unannounced",
    measures: [],
  } as const;
  const woken = { state: "precopying", failures: [], undone: [], memory };
  const { actor } = openSource(
    { journal: { append: async () => {} }, clock: systemClock },
    { identity, limits: defaultLimits, deadlines: defaultDeadlines, policy: defaultPolicy, woken },
    port<SourceGuest>(),
    port<SettlingPeer>(),
    null,
  );
  actor.start();
  onTestFinished(() => void actor.stop());
  return { actor, probed };
}

test.each([
  ["new limits", askForLimits],
  ["a switch to post-copy", askForPostcopy],
] as const)("%s take effect once QEMU has reported that it sends memory", async (_, ask) => {
  const { actor, probed } = restartedWhileSending();
  await vi.waitFor(() => expect(stateName(actor.getSnapshot())).toBe("probing"));
  const tuned = ask(actor, { bandwidthMiBps: 7 });
  probed.open(done("sending"));
  expect(await tuned).toMatchObject({ applied: true });
});
