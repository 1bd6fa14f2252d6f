// The guest agent's client, with a minimal agent on a unix socket: a real one needs a guest with an operating system.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../../src/drivers/platform/clock.js";
import { syncTime } from "../../../../src/drivers/qemu/guest/guest-agent.js";
import { patienceMs } from "../../../support/patience.js";
import { smallAgent } from "../../../support/small-agent.js";

const options = { clock: systemClock, limitMs: patienceMs };

async function withAgent(habits: Parameters<typeof smallAgent>[1]) {
  const directory = mkdtempSync(join(tmpdir(), "agent-"));
  const path = join(directory, "agent.sock");
  const agent = await smallAgent(path, habits);
  onTestFinished(async () => {
    await agent.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return { path, agent };
}

test("an agent is synchronized, then sets the guest's clock", async () => {
  const { path, agent } = await withAgent({});
  await syncTime(path, options);
  expect(agent.asked).toEqual(["guest-sync-delimited", "guest-set-time"]);
});

test.each([
  ["a whole answer", '{"return": {}}\n'],
  ["an error", '{"error": {"class": "GenericError", "desc": "of another"}}\n'],
  ["half an answer", '{"return": [{"na'],
  ["another's sync", '\xff{"return": 7}\n'],
])("%s to an earlier client is not mistaken for the own one", async (_, left) => {
  const { path } = await withAgent({ left });
  await syncTime(path, options);
});

test("an agent's error is reported with its own message", async () => {
  const { path } = await withAgent({ setTime: { error: { class: "GenericError", desc: "hwclock failed" } } });
  await expect(syncTime(path, options)).rejects.toThrow("the guest agent reported an error: hwclock failed");
});

test.each([
  ["that hears nothing", { isDeaf: true }],
  ["that does not answer", { setTime: null }],
])("an agent %s is given up in time", async (_, habits) => {
  const { path } = await withAgent(habits);
  await expect(syncTime(path, { ...options, limitMs: 500 })).rejects.toThrow("did not answer within 500 ms");
});

test("a port without a listener is reported", async () => {
  await expect(syncTime("/nowhere/agent.sock", options)).rejects.toThrow("ENOENT");
});
