// Checks the conclusions of a source from the answers to settle. Checks G1: only an explicit answer counts, and every other
// outcome is unknown.

import { describe, expect, test } from "vitest";
import { libvirtError } from "../../../../../src/daemon/rpc/errors.js";
import { SettlePeer } from "../../../../../src/drivers/libvirt/client/settle-peer.js";
import type { errorCodes } from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { serve, serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { decisions, own } from "../../../../../src/drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { done } from "../../../../../src/protocol/effect-result.js";
import { anywhere, connectionUri } from "../../../../../src/protocol/peer-text.js";
import { pair } from "../../../../support/rpc-pair.js";

const question = { migrationId: "m-1", uuid: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", name: "web-1" };
const { signal } = new AbortController();

/** A source that was given that socket's address. */
const asking = (path: string) => {
  const uri = connectionUri(`qemu+unix:///system?socket=${path}`, { ...anywhere, certificates: false });
  return new SettlePeer(systemClock, anywhere, uri);
};

/** A source, and a destination that answers each query with `answer`. */
async function answered(answer: () => { decision: number }): Promise<SettlePeer> {
  const services = [
    serveRemote({ connectOpen: () => undefined, connectClose: () => undefined }),
    serve(own, { settle: answer, concede: answer, handOver: answer }),
  ];
  return asking((await pair({ services })).path);
}

const rejecting = (code: keyof typeof errorCodes) => () => {
  throw libvirtError(code, "it is not known");
};

describe.each(["settle", "concede", "handOver"] as const)("the answer to %s", (how) => {
  test("is the destination's explicit decision", async () => {
    expect(
      await (await answered(() => ({ decision: decisions.undecidable })))[how](question, signal),
    ).toEqual(done("undecidable"));
    expect(await (await answered(() => ({ decision: decisions.taken })))[how](question, signal)).toEqual(
      done("taken"),
    );
    expect(await (await answered(() => ({ decision: decisions.refused })))[how](question, signal)).toEqual(
      done("refused"),
    );
  });

  test.each([
    ["an answer that this version does not know", () => ({ decision: 9 })],
    ["no answer in words", () => ({ decision: 0 })],
    ["a destination that does not know it yet", rejecting("OPERATION_TIMEOUT")],
    ["a destination that rejects the question", rejecting("OPERATION_DENIED")],
    ["a host that does not know the question, such as a libvirtd", rejecting("RPC")],
  ])("is unknown of %s", async (_, answer) => {
    expect((await (await answered(answer))[how](question, signal)).kind).toBe("unknown");
  });

  test("is unknown where no process listens, and without an address", async () => {
    expect((await asking("/nowhere/sock")[how](question, signal)).kind).toBe("unknown");
    expect((await new SettlePeer(systemClock, anywhere)[how](question, signal)).kind).toBe("unknown");
  });
});
