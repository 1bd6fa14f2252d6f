import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { decode, LineSplitter } from "../../src/drivers/qemu/monitor/codec.js";
import { Monitor } from "../../src/drivers/qemu/monitor/commands.js";
import { connectMonitor } from "../../src/drivers/qemu/monitor/connect.js";
import {
  QmpCommandError,
  QmpConnectError,
  QmpDisconnectedError,
  QmpProtocolError,
  QmpTimeoutError,
} from "../../src/drivers/qemu/monitor/errors.js";
import type { RawEvent } from "../../src/drivers/qemu/monitor/session.js";
import { systemClock } from "../../src/drivers/system.js";
import { type FakeQemu, fakeQemu, type Received } from "./fake-qemu.js";

let fake: FakeQemu | undefined;
afterEach(async () => {
  await fake?.close();
  fake = undefined;
});

async function session(
  answer: (command: Received) => object | string | undefined,
  { first, oob = true }: { first?: object | string | null; oob?: boolean } = {},
) {
  fake = await fakeQemu(answer, first);
  return connectMonitor(fake.path, { clock: systemClock, oob, deadlineMs: 200 });
}
const stopEvent = { event: "STOP", timestamp: { seconds: 1, microseconds: 2 } };

describe("the codec", () => {
  test("reads the same messages however the bytes are split", () => {
    const lines = [
      '{"return":{"text":"Grüße 🖥"}}',
      '{"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}',
    ];
    const bytes = Buffer.from(lines.map((it) => `${it}\r\n`).join(""));
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const splitter = new LineSplitter();
        const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        const read = places.flatMap((from, index) => splitter.push(bytes.subarray(from, places[index + 1])));
        expect(read).toEqual(lines);
      }),
    );
  });

  test("answers anything that is no QMP message with a QmpProtocolError", () => {
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

  test("never keeps a line beyond its limit", () => {
    const splitter = new LineSplitter(100);
    expect(() => {
      for (let i = 0; i < 20; i += 1) splitter.push(Buffer.from("0123456789"));
    }).toThrow(QmpProtocolError);
  });
});

describe("a monitor session", () => {
  test("gives each command its own answer, in whatever order they come", async () => {
    const late: Received[] = [];
    const it = await session((command) => {
      late.push(command);
      if (late.length < 2) return undefined;
      return `${late
        .toReversed()
        .map(({ id, execute }) => JSON.stringify({ return: { of: execute }, id }))
        .join("\n")}\n`;
    });
    const answers = Promise.all([
      it.execute("one", {}, { limitMs: 500 }),
      it.execute("two", {}, { limitMs: 500 }),
    ]);
    expect(await answers).toEqual([{ of: "one" }, { of: "two" }]);
    it.close();
  });

  test("tells QEMU's no with class, words and dialogue", async () => {
    const it = await session(({ id }) => ({ error: { class: "GenericError", desc: "no such thing" }, id }));
    const error = await it.execute("cont", {}, { limitMs: 500 }).catch((why: unknown) => why);
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({
      command: "cont",
      errorClass: "GenericError",
      message: "QEMU refused cont: no such thing",
    });
    expect((error as QmpCommandError).dialogue.map(({ direction }) => direction)).toContain("sent");
    it.close();
  });

  test("gives a command up after its time limit, and its late answer harms no other", async () => {
    let first: Received | undefined;
    const it = await session((command) => {
      first ??= command;
      return command === first ? undefined : { return: { late: false }, id: command.id };
    });
    await expect(it.execute("slow", {}, { limitMs: 30 })).rejects.toBeInstanceOf(QmpTimeoutError);
    fake?.send({ return: { late: true }, id: first?.id });
    expect(await it.execute("next", {}, { limitMs: 500 })).toEqual({ late: false });
    expect(
      it
        .dialogue()
        .map(({ text }) => text)
        .join(),
    ).toContain('"late":true');
    it.close();
  });

  test("rejects what is pending when QEMU goes away, and everything after", async () => {
    const it = await session(() => undefined);
    const pending = it.execute("query-status", {}, { limitMs: 5000 });
    pending.catch(() => {});
    await fake?.close();
    await expect(pending).rejects.toBeInstanceOf(QmpDisconnectedError);
    await expect(it.execute("cont", {}, { limitMs: 500 })).rejects.toBeInstanceOf(QmpDisconnectedError);
    expect(await it.closed).toBeInstanceOf(QmpDisconnectedError);
  });

  test("ends at the first line that it cannot read, saying which", async () => {
    const it = await session(() => "this is not JSON\n");
    await expect(it.execute("query-status", {}, { limitMs: 500 })).rejects.toThrow(
      "no JSON: this is not JSON",
    );
  });

  test("delivers events in wire order with the answers around them", async () => {
    const order: string[] = [];
    const it = await session(
      ({ id }) =>
        `${[stopEvent, { return: {}, id }, { ...stopEvent, event: "RESUME" }]
          .map((one) => JSON.stringify(one))
          .join("\n")}\n`,
    );
    it.onEvent((event: RawEvent) => order.push(event.event));
    await it.execute("stop", {}, { limitMs: 500 }).then(() => order.push("answer"));
    expect(order).toEqual(["STOP", "RESUME", "answer"]);
    it.close();
  });

  test("runs out of band only where QEMU has granted it", async () => {
    const seen: Received[] = [];
    const granted = await session((command) => {
      seen.push(command);
      return { return: {}, id: command.id };
    });
    await granted.execute("yank", {}, { limitMs: 500, oob: true });
    expect(seen[0]).toHaveProperty("exec-oob", "yank");
    granted.close();
    await fake?.close();
    const plain = await session(() => undefined, { first: { QMP: { capabilities: [] } } });
    await expect(plain.execute("yank", {}, { limitMs: 500, oob: true })).rejects.toThrow("did not grant");
    plain.close();
  });

  test("says that another client may hold the monitor when QEMU does not greet", async () => {
    await expect(session(() => undefined, { first: null })).rejects.toThrow("serves one client");
  });

  test("says where it waited for a monitor that never came", async () => {
    const wait = connectMonitor("/nonexistent/qmp.sock", { clock: systemClock, oob: false, deadlineMs: 50 });
    await expect(wait).rejects.toBeInstanceOf(QmpConnectError);
    await expect(wait).rejects.toThrow(
      "/nonexistent/qmp.sock cannot be reached: nobody listened within 50 ms",
    );
  });

  test("refuses an answer that is not as QEMU documents it, by name and place", async () => {
    const it = await session(({ id }) => ({ return: { status: 5 }, id }));
    await expect(new Monitor(it).execute("query-status", {})).rejects.toThrow(
      /query-status is not as documented: status/,
    );
    it.close();
  });
});
