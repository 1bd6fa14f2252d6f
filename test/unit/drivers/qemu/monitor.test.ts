import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../../src/drivers/platform/clock.js";
import { decode, LineSplitter } from "../../../../src/drivers/qemu/monitor/codec.js";
import { Monitor } from "../../../../src/drivers/qemu/monitor/commands.js";
import { connectMonitor } from "../../../../src/drivers/qemu/monitor/connect.js";
import {
  QmpCommandError,
  QmpConnectError,
  QmpDisconnectedError,
  QmpProtocolError,
  QmpTimeoutError,
  QmpUnsentError,
} from "../../../../src/drivers/qemu/monitor/errors.js";
import type { RawEvent } from "../../../../src/drivers/qemu/monitor/session.js";
import { type FakeQemu, fakeQemu, greeting, type Received } from "../../../support/fake-qemu.js";
import { patienceMs } from "../../../support/patience.js";
import { uncaughtDuring } from "../../../support/uncaught.js";

let fake: FakeQemu | undefined;
afterEach(async () => {
  await fake?.close();
  fake = undefined;
});

async function session(
  answer: (command: Received) => object | string | undefined,
  {
    first,
    oob = true,
    deadlineMs = patienceMs,
  }: { first?: object | string | null; oob?: boolean; deadlineMs?: number } = {},
) {
  fake = await fakeQemu(answer, first);
  return connectMonitor(fake.path, { clock: systemClock, oob, deadlineMs });
}
const stopEvent = { event: "STOP", timestamp: { seconds: 1, microseconds: 2 } };

describe("the codec", () => {
  test("reads the same messages however the bytes are split", () => {
    const lines = [
      '{"return":{"text":"Grüße 🖥"}}',
      '{"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}',
    ];
    const bytes = Buffer.from(lines.map((line) => `${line}\r\n`).join(""));
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const splitter = new LineSplitter();
        const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        const read = places.flatMap((from, index) => splitter.push(bytes.subarray(from, places[index + 1])));
        expect(read).toEqual(lines);
      }),
    );
  });

  test("rejects anything that is not a QMP message with a QmpProtocolError", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          decode(text);
        } catch (error) {
          expect(error).toBeInstanceOf(QmpProtocolError);
        }
      }),
    );
  });

  test("never buffers a line beyond its limit", () => {
    const splitter = new LineSplitter(100);
    expect(() => {
      for (let i = 0; i < 20; i += 1) splitter.push(Buffer.from("0123456789"));
    }).toThrow(QmpProtocolError);
  });
});

describe("a monitor session", () => {
  test("gives each command its own answer, in any order of arrival", async () => {
    const late: Received[] = [];
    const qmp = await session((command) => {
      late.push(command);
      if (late.length < 2) return undefined;
      return `${late
        .toReversed()
        .map(({ id, execute }) => JSON.stringify({ return: { of: execute }, id }))
        .join("\n")}\n`;
    });
    const answers = Promise.all([
      qmp.execute("one", {}, { limitMs: patienceMs }),
      qmp.execute("two", {}, { limitMs: patienceMs }),
    ]);
    expect(await answers).toEqual([{ of: "one" }, { of: "two" }]);
    qmp.close();
  });

  test("reports QEMU's error with class, message and dialogue", async () => {
    const qmp = await session(({ id }) => ({ error: { class: "GenericError", desc: "no such thing" }, id }));
    const error = await qmp.execute("cont", {}, { limitMs: patienceMs }).catch((why: unknown) => why);
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({
      command: "cont",
      errorClass: "GenericError",
      message: "QEMU rejected cont: no such thing",
    });
    expect((error as QmpCommandError).dialogue.map(({ direction }) => direction)).toContain("sent");
    qmp.close();
  });

  test("abandons a command after its time limit, and its late answer does not affect others", async () => {
    let first: Received | undefined;
    const qmp = await session((command) => {
      first ??= command;
      return command === first ? undefined : { return: { late: false }, id: command.id };
    });
    await expect(qmp.execute("slow", {}, { limitMs: 30 })).rejects.toBeInstanceOf(QmpTimeoutError);
    fake?.send({ return: { late: true }, id: first?.id });
    expect(await qmp.execute("next", {}, { limitMs: patienceMs })).toEqual({ late: false });
    expect(
      qmp
        .dialogue()
        .map(({ text }) => text)
        .join(),
    ).toContain('"late":true');
    qmp.close();
  });

  test("rejects pending commands when QEMU disconnects, and all later ones", async () => {
    const qmp = await session(() => undefined);
    const pending = qmp.execute("query-status", {}, { limitMs: patienceMs });
    pending.catch(() => {});
    await fake?.close();
    await expect(pending).rejects.toBeInstanceOf(QmpDisconnectedError);
    await expect(qmp.execute("cont", {}, { limitMs: patienceMs })).rejects.toBeInstanceOf(QmpUnsentError);
    expect(await qmp.closed).toBeInstanceOf(QmpDisconnectedError);
  });

  test("ends at the first line that it cannot parse, and reports the line", async () => {
    const qmp = await session(() => "this is not JSON\n");
    await expect(qmp.execute("query-status", {}, { limitMs: patienceMs })).rejects.toThrow(
      "not valid JSON: this is not JSON",
    );
  });

  test("delivers events in wire order with the answers around them", async () => {
    const order: string[] = [];
    const qmp = await session(
      ({ id }) =>
        `${[stopEvent, { return: {}, id }, { ...stopEvent, event: "RESUME" }]
          .map((one) => JSON.stringify(one))
          .join("\n")}\n`,
    );
    qmp.onEvent((event: RawEvent) => order.push(event.event));
    await qmp.execute("stop", {}, { limitMs: patienceMs }).then(() => order.push("answer"));
    expect(order).toEqual(["STOP", "RESUME", "answer"]);
    qmp.close();
  });

  test("runs out of band only where QEMU has granted it", async () => {
    const seen: Received[] = [];
    const granted = await session((command) => {
      seen.push(command);
      return { return: {}, id: command.id };
    });
    await granted.execute("yank", {}, { limitMs: patienceMs, oob: true });
    expect(seen[0]).toHaveProperty("exec-oob", "yank");
    granted.close();
    await fake?.close();
    const plain = await session(() => undefined, { first: { QMP: { capabilities: [] } } });
    await expect(plain.execute("yank", {}, { limitMs: patienceMs, oob: true })).rejects.toThrow(
      "did not grant",
    );
    plain.close();
  });

  test("reports that another client may hold the monitor when QEMU sends no greeting", async () => {
    await expect(session(() => undefined, { first: null, deadlineMs: 200 })).rejects.toThrow(
      "serves one client",
    );
  });

  test("wakes a QEMU that has sent its greeting, and that waits for another connection before it answers", async () => {
    fake = await fakeQemu(() => undefined, greeting, { hangs: true });
    const session = await connectMonitor(fake.path, {
      clock: systemClock,
      deadlineMs: patienceMs,
      oob: true,
    });
    expect(session.hasOob).toBe(true);
    session.close();
  });

  test("reports the path of a monitor that never appeared", async () => {
    const wait = connectMonitor("/nonexistent/qmp.sock", { clock: systemClock, oob: false, deadlineMs: 50 });
    await expect(wait).rejects.toBeInstanceOf(QmpConnectError);
    await expect(wait).rejects.toThrow("/nonexistent/qmp.sock cannot be reached: no listener within 50 ms");
  });

  test("survives a listener and an observer that throw, and rethrows their exceptions", async () => {
    fake = await fakeQemu(
      ({ id }) => `${JSON.stringify(stopEvent)}\n${JSON.stringify({ return: {}, id })}\n`,
    );
    const { path } = fake;
    const uncaught = await uncaughtDuring(async () => {
      const qmp = await connectMonitor(path, {
        clock: systemClock,
        oob: false,
        deadlineMs: patienceMs,
      });
      qmp.onMonitorTraffic(({ text }) => {
        if (text.includes("STOP")) throw new Error("observer's bug");
      });
      qmp.onEvent(() => {
        throw new Error("listener's bug");
      });
      expect(await qmp.execute("stop", {}, { limitMs: patienceMs })).toEqual({});
      qmp.close();
    });
    expect(uncaught.map(String)).toEqual(["Error: observer's bug", "Error: listener's bug"]);
  });

  test("does not mistake an event for one of its table because of inherited properties", async () => {
    const qmp = await session(
      ({ id }) =>
        `${JSON.stringify({ ...stopEvent, event: "constructor" })}\n${JSON.stringify({ return: { status: "running", running: true }, id })}\n`,
    );
    const monitor = new Monitor(qmp);
    monitor.onEvent(() => {});
    expect(await monitor.execute("query-status", {})).toMatchObject({ running: true });
    qmp.close();
  });

  test("ends at an event that does not match QEMU's documentation, without an uncaught error", async () => {
    const qmp = await session(() => `${JSON.stringify({ ...stopEvent, event: "MIGRATION", data: {} })}\n`);
    const monitor = new Monitor(qmp);
    const heard: unknown[] = [];
    monitor.onEvent((event) => heard.push(event));
    await expect(monitor.execute("query-status", {})).rejects.toThrow(
      "MIGRATION does not match its documentation: status",
    );
    expect(heard).toEqual([]);
  });

  test("stops waiting for a greeting as soon as the process is known to be dead", async () => {
    fake = await fakeQemu(() => undefined, null);
    const dead = new AbortController();
    const wait = connectMonitor(fake.path, {
      clock: systemClock,
      oob: false,
      deadlineMs: patienceMs,
      signal: dead.signal,
    });
    setTimeout(() => dead.abort(), 20);
    await expect(wait).rejects.toThrow("cannot be reached: aborted");
    const tooLate = connectMonitor(fake.path, {
      clock: systemClock,
      oob: false,
      deadlineMs: patienceMs,
      signal: dead.signal,
    });
    await expect(tooLate).rejects.toBeInstanceOf(QmpConnectError);
  });

  test("reports an abandoned negotiation as an unreachable monitor", async () => {
    fake = await fakeQemu(() => undefined, greeting, { negotiates: false });
    const wait = connectMonitor(fake.path, { clock: systemClock, oob: false, deadlineMs: 60 });
    await expect(wait).rejects.toBeInstanceOf(QmpConnectError);
  });

  test("refuses an answer that does not match QEMU's documentation, by name and place", async () => {
    const qmp = await session(({ id }) => ({ return: { status: 5 }, id }));
    await expect(new Monitor(qmp).execute("query-status", {})).rejects.toThrow(
      /query-status does not match its documentation: status/,
    );
    qmp.close();
  });
});
