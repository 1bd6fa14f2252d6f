// Our machines as XState's own inspectors see them: `@xstate/inspect` with XState 4 itself at both ends of a real socket,
// and `@statelyai/inspect`, while migrations run on real QEMU.

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
const names = machines.map((it) => it.id);

describe("XState 4 takes a machine of ours", () => {
  test.each(machines.map((it) => [it.id, it] as const))(
    "%s, with every state and every edge",
    (_, machine) => {
      const four = createMachine(JSON.parse(JSON.stringify(definition4(machine))));
      const edges5 = arrowsOf(machine).map((it) => `${it.from.id} ${eventType4(it.event)} ${it.target.id}`);
      const edges4 = four.stateIds
        .flatMap((id) => four.getStateNodeById(id).transitions)
        .flatMap((it) => (it.target ?? []).map((to) => `${it.source.id} ${it.eventType} ${to.id}`));
      expect(edges4.toSorted()).toEqual(edges5.toSorted());

      for (const node of nodesOf(machine)) {
        const value = node.path.reduceRight<StateValue>((inner, key) => ({ [key]: inner }), {});
        const resolved = four.resolveState(State.from(value));
        const active = resolved.configuration.map((it) => it.id);
        expect(active, node.id).toContain(node.id);
        const here = four.getStateNodeById(node.id);
        expect(here).toMatchObject({ type: node.type, order: node.order, description: node.description });
        expect(here.tags).toEqual(node.tags);
        expect(here.invoke.map((it) => it.id)).toEqual(node.invoke.map((it) => it.id));
      }
    },
  );

  test("with the names of guards and actions, and delays", () => {
    const { states } = definition4(sourceMachine);
    const text = JSON.stringify(states);
    expect(text).toContain('"cond":"isDone"');
    expect(text).not.toMatch(/"xstate\.(assign|raise|cancel|emit)"/);
    const delays = nodesOf(sourceMachine).flatMap((it) => it.after.map(({ delay }) => String(delay)));
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

  /** The package's own receiver, once the server knows of it. */
  async function receive() {
    vi.stubGlobal("WebSocket", WebSocket);
    onTestFinished(() => {
      vi.unstubAllGlobals();
    });
    const complaints = vi.spyOn(console, "error");
    const connected = once(server, "connection");
    const receiver = createWebSocketReceiver({ server: address, serialize: undefined });
    const events: ParsedReceiverEvent[] = [];
    receiver.subscribe((it) => {
      events.push(it);
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
    events.find((it) => it.type === "service.register" && it.machine.id === name)?.sessionId;
  const statesSeen = ({ events }: Received, sessionId = "") =>
    events.flatMap((it) =>
      it.type === "service.state" && it.sessionId === sessionId ? it.state.toStrings() : [],
    );
  const expectResolvable = ({ events }: Received) => {
    const definitions = new Map<string, ReturnType<typeof createMachine>>();
    for (const it of events) {
      if (it.type === "service.register") definitions.set(it.sessionId, it.machine);
      if (it.type !== "service.register" && it.type !== "service.state") continue;
      const resolved = definitions.get(it.sessionId)?.resolveState(it.state);
      expect(resolved?.value, it.sessionId).toEqual(it.state.value);
    }
  };
  const eventsSeen = ({ events }: Received, sessionId = "") =>
    events.flatMap((it) => (it.type === "service.event" && it.sessionId === sessionId ? it.event.name : []));
  const stopped = ({ events }: Received) =>
    events.flatMap((it) => (it.type === "service.stop" ? it.sessionId : []));

  test("is shown all three machines of a migration that arrives, from the first state to the last", async () => {
    const received = await receive();
    await inLab({}, async (lab) => {
      const outcome = await lab.ended(lab.migrate({ inspect: bridgeToXStateInspect(devTools) }));
      expect(outcome.kind).toBe("arrived");
    });
    const sessions = names.map((it) => sessionOf(received, it));
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
      expect.arrayContaining(["xstate.init", "coordinator.performAsked", "monitor.completed"]),
    );
    expect(eventsSeen(received, destination)).toEqual(
      expect.arrayContaining(["done.invoke.prepare", "coordinator.finishAsked", "monitor.resumed"]),
    );
    expect(devTools).toMatchObject({ services: new Set() });
    expectResolvable(received);
  });

  test("asks in vain, and is shown an aborted migration that it has come to late", async () => {
    const refused: Refused[] = [];
    await inLab({}, async (lab) => {
      const migration = lab.migrate({
        inspect: bridgeToXStateInspect(devTools, { refused: (it) => refused.push(it) }),
        limits: { bandwidthMiBps: 8, maxDowntimeMs: 1 },
      });
      await memoryMoves(migration);
      const received = await receive();
      await expect.poll(() => names.map((it) => sessionOf(received, it))).not.toContain(undefined);
      const source = sessionOf(received, "source");

      const event = { $$type: "scxml", type: "external", name: "person.aborted", origin: source };
      const data = { type: "person.aborted" };
      received.receiver.send({
        type: "xstate.event",
        event: JSON.stringify({ ...event, data }),
        service: "",
      });
      await expect.poll(() => eventsSeen(received, source)).toContain("inspector.refused");
      expect(refused).toEqual([{ machine: "source", sessionId: source, what: "person.aborted" }]);
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

  test("has to be there before the bridge", () => {
    expect(() => bridgeToXStateInspect(Reflect.get(globalThis, "__nothing__"))).toThrow("call inspect()");
  });
});

test("@statelyai/inspect is shown them as they are, and a broken inspector beside it harms nothing", async () => {
  const seen: StatelyInspectionEvent[] = [];
  const stately = createInspector({ send: (it) => void seen.push(it) });
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
    for (const it of uncaught) expect(String(it)).toContain("no more memory for this inspector");
  });
  const actors = seen.flatMap((it) => (it.type === "@xstate.actor" ? it.name : []));
  expect(actors).toEqual(expect.arrayContaining(names));
  const values = seen.flatMap((it) => (it.type === "@xstate.snapshot" ? JSON.stringify(it.snapshot) : []));
  expect(values.some((it) => it.includes('"value":"left"'))).toBe(true);
});
