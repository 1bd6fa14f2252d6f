// Tokens of orchestrators, as a host keeps them for each guest. Checks G1 against an orchestrator that was replaced.

import { expect, test } from "vitest";
import { Tokens } from "../../../src/daemon/migrations/tokens.js";
import { idWithToken } from "../../../src/protocol/fencing-token.js";
import { temporaryDirectory } from "../../support/rpc-pair.js";

const nowMs = 1_800_000_000_000;
const clock = { now: () => nowMs };
const uuid = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
const id = (token: number) => idWithToken(token, "0123456789abcdef01");

test("a token is accepted up to ten minutes ahead of the host's clock, and a later one bars nothing", async () => {
  const tokens = await Tokens.open(temporaryDirectory(), clock);
  await expect(tokens.admit(uuid, id(nowMs + 11 * 60_000))).rejects.toThrow("ahead of this host's clock");
  await tokens.admit(uuid, id(nowMs));
  await tokens.admit(uuid, id(nowMs + 9 * 60_000));
});

test("an older token is rejected, also by a restarted host", async () => {
  const directory = temporaryDirectory();
  const tokens = await Tokens.open(directory, clock);
  await tokens.admit(uuid, id(nowMs));
  expect(() => tokens.check(uuid, id(nowMs - 1))).toThrow("older than another one");
  const restarted = await Tokens.open(directory, clock);
  expect(() => restarted.check(uuid, id(nowMs - 1))).toThrow("older than another one");
  restarted.check(uuid, id(nowMs));
  // The same orchestrator may go on with another guest.
  restarted.check("1a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", id(nowMs - 1));
});

test("a check of a token keeps nothing: what was never admitted bars no older one", async () => {
  const tokens = await Tokens.open(temporaryDirectory(), clock);
  tokens.check(uuid, id(nowMs));
  tokens.check(uuid, id(nowMs - 1));
});
