// Checks G1 for a source's own coordinator and a libvirtd: calling Finish and the source's conclusion "refused, since Finish was
// never called" exclude each other.

import { expect, onTestFinished, test } from "vitest";
import { libvirtError } from "../../../../../src/daemon/rpc/errors.js";
import { arrivalAt, noSteps } from "../../../../../src/drivers/libvirt/client/arrival.js";
import { remoteDestination, type Travelling } from "../../../../../src/drivers/libvirt/client/peers.js";
import { stepCalls } from "../../../../../src/drivers/libvirt/client/protocol-calls.js";
import { Redial } from "../../../../../src/drivers/libvirt/client/reconnecting-client.js";
import { serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { anywhere } from "../../../../../src/protocol/peer-text.js";
import { pair } from "../../../../support/rpc-pair.js";

const uuid = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
const identity = { migrationId: "m-1", uuid, name: "web-1" };
const mode = { protocol: 3, postcopy: false } as const;
const { signal } = new AbortController();

/** A libvirtd that does not list the guest, and counts its calls of Finish. */
async function libvirtd(onList: () => void = () => {}) {
  let finished = 0;
  const { path, connect } = await pair({
    services: [
      serveRemote({
        connectOpen: () => {},
        connectClose: () => {},
        connectGetUri: () => ({ uri: "qemu:///system" }),
        connectRegisterCloseCallback: () => {},
        connectUnregisterCloseCallback: () => {},
        connectListAllDomains: () => {
          onList();
          return { domains: [], ret: 0 };
        },
        domainMigrateFinish3Params: () => {
          finished++;
          throw libvirtError("OPERATION_INVALID", "there is no guest");
        },
      }),
    ],
  });
  const redial = new Redial(`qemu+unix:///system?socket=${path}`, systemClock);
  onTestFinished(() => redial.close());
  return { redial, connect, finishes: () => finished };
}

function leading(connection: Redial, isBack: () => boolean) {
  const travelling: Travelling = {
    cookies: {},
    xml: "",
    flags: new Set(),
    nameAtSource: identity.name,
    steps: { ...noSteps(), prepare: "done", incomingId: 7 },
  };
  const calls = async () => stepCalls("version 3 with parameters", { xmlMigratable: true });
  const options = { flags: new Set<never>(), parameters: {}, calls, reach: anywhere, isBack };
  return { travelling, destination: remoteDestination(connection, identity, options, travelling) };
}

test("a coordinator does not call Finish after the source has concluded that it was never called", async () => {
  const { redial, connect, finishes } = await libvirtd();
  const { destination } = leading(redial, () => false);
  const settled = await destination.settleOver(await connect(), signal);
  expect(settled).toEqual({ kind: "done", value: "refused" });
  expect((await destination.finish({ cancelled: false }, signal)).kind).toBe("failed");
  expect(finishes()).toBe(0);
});

test("a coordinator does not call Finish when its source has resumed the guest", async () => {
  const { redial, finishes } = await libvirtd();
  const { destination, travelling } = leading(redial, () => true);
  travelling.steps.finish = "unanswered";
  expect((await destination.finish({ cancelled: false }, signal)).kind).toBe("failed");
  expect(finishes()).toBe(0);
});

test("a coordinator calls Finish while the source waits", async () => {
  const { redial, finishes } = await libvirtd();
  const { destination } = leading(redial, () => false);
  const answer = await destination.finish({ cancelled: false }, signal);
  expect(answer).toMatchObject({ kind: "done", value: { outcome: "refused" } });
  expect(finishes()).toBe(1);
});

test("a Finish that is called while the source inquires is part of its evidence", async () => {
  const steps = { ...noSteps(), prepare: "done" as const, incomingId: 7 };
  const { connect } = await libvirtd(() => {
    steps.finish = "unanswered";
  });
  const conclude = async () => arrivalAt(await connect(), steps, identity, mode, signal);
  expect(await conclude()).toBe("unknown");
  expect(steps.concluded).toBe(null);
});
