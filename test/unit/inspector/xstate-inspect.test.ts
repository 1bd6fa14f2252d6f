// Our machines in XState's own inspectors: `@xstate/inspect` with XState 4 itself at both ends of a real socket, and
// `@statelyai/inspect`, during migrations on real QEMU.

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createInspector, type StatelyInspectionEvent } from "@statelyai/inspect";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import type { InspectionEvent } from "xstate";
import {
  createMachine,
  createWebSocketReceiver,
  inspect,
  type ParsedReceiverEvent,
  State,
  type StateValue,
  WebSocket,
  WebSocketServer,
} from "../../../packages/xstate4/index.js";
import {
  bridgeToXStateInspect,
  type DevTools4,
  type Refused,
} from "../../../src/inspector/xstate4/xstate4.js";
import { definition4, eventType4 } from "../../../src/inspector/xstate4/xstate4-definition.js";
import { coordinatorMachine } from "../../../src/machines/coordinator/machine.js";
import { destinationMachine } from "../../../src/machines/destination/machine.js";
import { arrowsOf, nodesOf } from "../../../src/machines/shared/walk.js";
import { sourceMachine } from "../../../src/machines/source/machine.js";
import { inLab, memoryMoves } from "../../support/proof-guests.js";
import { uncaughtDuring } from "../../support/uncaught.js";

const machines = [sourceMachine, destinationMachine, coordinatorMachine];
const names = machines.map((machine) => machine.id);

describe("XState 4 accepts one of our machines", () => {
  test.each(machines.map((machine) => [machine.id, machine] as const))(
    "%s, with every state and every edge",
    (_, machine) => {
      const four = createMachine(JSON.parse(JSON.stringify(definition4(machine))));
      const edges5 = arrowsOf(machine).map(
        (arrow) => `${arrow.from.id} ${eventType4(arrow.event)} ${arrow.target.id}`,
      );
      const edges4 = four.stateIds
        .flatMap((id) => four.getStateNodeById(id).transitions)
        .flatMap((transition) =>
          (transition.target ?? []).map((to) => `${transition.source.id} ${transition.eventType} ${to.id}`),
        );
      expect(edges4.toSorted()).toEqual(edges5.toSorted());

      for (const node of nodesOf(machine)) {
        const value = node.path.reduceRight<StateValue>((inner, key) => ({ [key]: inner }), {});
        const resolved = four.resolveState(State.from(value));
        const active = resolved.configuration.map((node) => node.id);
        expect(active, node.id).toContain(node.id);
        const here = four.getStateNodeById(node.id);
        expect(here).toMatchObject({ type: node.type, order: node.order, description: node.description });
        expect(here.tags).toEqual(node.tags);
        expect(here.invoke.map((invoke) => invoke.id)).toEqual(node.invoke.map((invoke) => invoke.id));
      }
    },
  );

  test("with the names of guards and actions, and delays", () => {
    const { states } = definition4(sourceMachine);
    const text = JSON.stringify(states);
    expect(text).toContain('"cond":"isDone"');
    expect(text).not.toMatch(/"xstate\.(assign|raise|cancel|emit)"/);
    const delays = nodesOf(sourceMachine).flatMap((node) => node.after.map(({ delay }) => String(delay)));
    expect(delays.length).toBeGreaterThan(0);
    for (const delay of delays) expect(text).toContain(`"after":{"${delay}"`);
  });
});

describe("@xstate/inspect", () => {
  let server: WebSocketServer;
  let address: string;
  let devTools: DevTools4;
  let inspector: ReturnType<typeof inspect>;

  beforeAll(async () => {
    server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    inspector = inspect({ server });
    devTools = Reflect.get(globalThis, "__xstate__");
  });
  afterAll(() => {
    inspector.disconnect?.();
  });

  /** The package's own receiver, once the server knows it. */
  async function receive() {
    vi.stubGlobal("WebSocket", WebSocket);
    onTestFinished(() => {
      vi.unstubAllGlobals();
    });
    const complaints = vi.spyOn(console, "error");
    const connected = once(server, "connection");
    const receiver = createWebSocketReceiver({ server: address, serialize: undefined });
    const events: ParsedReceiverEvent[] = [];
    receiver.subscribe((receiverEvent) => {
      events.push(receiverEvent);
    });
    const [socket] = await connected;
    await once(socket, "message");
    onTestFinished(() => {
      socket.terminate();
      expect(complaints, "it could read everything").not.toHaveBeenCalled();
      complaints.mockRestore();
    });
    return { receiver, events };
  }

  type Received = Awaited<ReturnType<typeof receive>>;
  const sessionOf = ({ events }: Received, name: string) =>
    events.find((event) => event.type === "service.register" && event.machine.id === name)?.sessionId;
  const statesSeen = ({ events }: Received, sessionId = "") =>
    events.flatMap((event) =>
      event.type === "service.state" && event.sessionId === sessionId ? event.state.toStrings() : [],
    );
  const expectResolvable = ({ events }: Received) => {
    const definitions = new Map<string, ReturnType<typeof createMachine>>();
    for (const event of events) {
      if (event.type === "service.register") definitions.set(event.sessionId, event.machine);
      if (event.type !== "service.register" && event.type !== "service.state") continue;
      const resolved = definitions.get(event.sessionId)?.resolveState(event.state);
      expect(resolved?.value, event.sessionId).toEqual(event.state.value);
    }
  };
  const eventsSeen = ({ events }: Received, sessionId = "") =>
    events.flatMap((event) =>
      event.type === "service.event" && event.sessionId === sessionId ? event.event.name : [],
    );
  const stopped = ({ events }: Received) =>
    events.flatMap((event) => (event.type === "service.stop" ? event.sessionId : []));

  test("shows all three machines of a migration that arrives, from the first state to the last", async () => {
    const received = await receive();
    await inLab({}, async (lab) => {
      const outcome = await lab.ended(lab.migrate({ inspect: bridgeToXStateInspect(devTools) }));
      expect(outcome.kind).toBe("arrived");
    });
    const sessions = names.map((name) => sessionOf(received, name));
    expect(sessions).not.toContain(undefined);
    await expect.poll(() => stopped(received).toSorted()).toEqual(sessions.toSorted());
    const [source, destination, coordinator] = sessions;
    expect(statesSeen(received, source)).toEqual(
      expect.arrayContaining(["transferring.sending.precopying", "handover.handedOver", "left"]),
    );
    expect(statesSeen(received, destination)).toEqual(
      expect.arrayContaining(["incoming.streaming.listening", "arrived"]),
    );
    expect(statesSeen(received, coordinator).at(-1)).toBe("ended");
    expect(eventsSeen(received, source)).toEqual(
      expect.arrayContaining(["xstate.init", "coordinator.performRequested", "monitor.completed"]),
    );
    expect(eventsSeen(received, destination)).toEqual(
      expect.arrayContaining(["done.invoke.prepare", "coordinator.finishRequested", "monitor.resumed"]),
    );
    expect(devTools).toMatchObject({ services: new Set() });
    expectResolvable(received);
  });

  test("cannot send events, and shows an aborted migration to which it connected late", async () => {
    const refused: Refused[] = [];
    await inLab({}, async (lab) => {
      const migration = lab.migrate({
        inspect: bridgeToXStateInspect(devTools, { refused: (refusal) => refused.push(refusal) }),
        limits: { bandwidthMiBps: 8, maxDowntimeMs: 1 },
      });
      await memoryMoves(migration);
      const received = await receive();
      await expect.poll(() => names.map((name) => sessionOf(received, name))).not.toContain(undefined);
      const source = sessionOf(received, "source");

      const event = { $$type: "scxml", type: "external", name: "operator.aborted", origin: source };
      const data = { type: "operator.aborted" };
      received.receiver.send({
        type: "xstate.event",
        event: JSON.stringify({ ...event, data }),
        service: "",
      });
      await expect.poll(() => eventsSeen(received, source)).toContain("inspector.refused");
      expect(refused).toEqual([{ machine: "source", sessionId: source, what: "operator.aborted" }]);
      await memoryMoves(migration);
      expect(migration.snapshot().source).toMatch(/^precopying/);

      migration.abort();
      expect((await lab.ended(migration)).kind).toBe("aborted");
      await expect.poll(() => stopped(received)).toHaveLength(3);
      expect(statesSeen(received, source).at(-1)).toBe("stayed");
      expect(statesSeen(received, sessionOf(received, "destination")).at(-1)).toBe("refused");
      expectResolvable(received);
    });
  });

  test("must be running before the bridge", () => {
    expect(() => bridgeToXStateInspect(Reflect.get(globalThis, "__nothing__"))).toThrow("call inspect()");
  });
});

test("@statelyai/inspect receives the machines unchanged, and a broken inspector beside it has no effect", async () => {
  const seen: StatelyInspectionEvent[] = [];
  const stately = createInspector({ send: (observation) => void seen.push(observation) });
  const broken = bridgeToXStateInspect({
    register: () => {
      throw new Error("no more memory for this inspector");
    },
  });
  const inspector = (event: InspectionEvent) => {
    stately.inspect.next?.(event);
    broken(event);
  };
  await inLab({}, async (lab) => {
    const uncaught = await uncaughtDuring(async () => {
      expect((await lab.ended(lab.migrate({ inspect: inspector }))).kind).toBe("arrived");
    });
    expect(uncaught.length).toBeGreaterThan(0);
    for (const error of uncaught) expect(String(error)).toContain("no more memory for this inspector");
  });
  const actors = seen.flatMap((inspectionEvent) =>
    inspectionEvent.type === "@xstate.actor" ? inspectionEvent.name : [],
  );
  expect(actors).toEqual(expect.arrayContaining(names));
  const values = seen.flatMap((inspectionEvent) =>
    inspectionEvent.type === "@xstate.snapshot" ? JSON.stringify(inspectionEvent.snapshot) : [],
  );
  expect(values.some((value) => value.includes('"value":"left"'))).toBe(true);
});
