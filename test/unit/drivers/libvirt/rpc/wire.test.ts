import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { RpcProtocolError } from "../../../../../src/drivers/libvirt/rpc/errors.js";
import { encodeFrame, FrameSplitter, type Header } from "../../../../../src/drivers/libvirt/rpc/frame.js";
import { ping, pong } from "../../../../../src/drivers/libvirt/rpc/keepalive.js";
import { errorStruct, LibvirtError } from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { migrateParams } from "../../../../../src/drivers/libvirt/rpc/libvirt-types.js";
import { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import type { Message, Procedure } from "../../../../../src/drivers/libvirt/rpc/program.js";
import { decode, encode, type Xdr } from "../../../../../src/drivers/libvirt/rpc/xdr.js";

/** Groups of hexadecimal digits, and strings in quotes. */
const bytesOf = (text: string): Buffer =>
  Buffer.concat(
    [...text.matchAll(/"([^"]*)"|([\da-f]+)/g)].map(([, words, digits]) =>
      words === undefined ? Buffer.from(digits ?? "", "hex") : Buffer.from(words),
    ),
  );

const tiny = { name: "tiny", uuid: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", id: -1 };
const tinyBytes = "00000004 74696e79 0a1b2c3d 4e5f4a6b 8c7d9e0f 1a2b3c4d ffffffff";

/** Checks both directions: these bytes decode to this value, and this value encodes to these bytes. */
function expectBoth<T>(text: string, header: Header, type: Xdr<T>, value: T): void {
  const bytes = bytesOf(text);
  const [frame, ...more] = new FrameSplitter().push(bytes);
  expect(more).toEqual([]);
  expect(frame?.header).toEqual(header);
  expect(decode(type, frame?.body ?? Buffer.alloc(0))).toEqual(value);
  expect(encodeFrame(header, encode(type, value)).toString("hex")).toBe(bytes.toString("hex"));
}

function expectCall<A>(procedure: Procedure<A, unknown>, serial: number, args: A, text: string): void {
  const { program, number } = procedure;
  const header = { program: program.number, version: program.version, procedure: number, serial } as const;
  expectBoth(text, { ...header, type: "call", status: "ok" }, procedure.args, args);
}

function expectReply<R>(procedure: Procedure<unknown, R>, serial: number, ret: R, text: string): void {
  const { program, number } = procedure;
  const header = { program: program.number, version: program.version, procedure: number, serial } as const;
  expectBoth(text, { ...header, type: "reply", status: "ok" }, procedure.ret, ret);
}

function expectMessage<T>(message: Message<T>, serial: number, body: T, text: string): void {
  const { program, number } = message;
  const header = { program: program.number, version: program.version, procedure: number, serial } as const;
  expectBoth(text, { ...header, type: "message", status: "ok" }, message.body, body);
}

const {
  authList,
  connectSupportsFeature,
  connectOpen,
  connectGetHostname,
  connectListAllDomains,
  domainGetState,
  domainGetInfo,
  domainMigrateBegin3Params,
  connectDomainEventCallbackRegisterAny,
} = remote.procedures;

describe("messages of a real libvirtd 9.0", () => {
  test("the opening dialogue", () => {
    expectCall(authList, 0, undefined, "0000001c 20008086 00000001 00000042 00000000 00000000 00000000");
    expectReply(
      authList,
      0,
      { types: [0] },
      "00000024 20008086 00000001 00000042 00000001 00000000 00000000 00000001 00000000",
    );
    expectCall(
      connectSupportsFeature,
      1,
      { feature: 10 },
      "00000020 20008086 00000001 0000003c 00000000 00000001 00000000 0000000a",
    );
    expectReply(
      connectSupportsFeature,
      1,
      { supported: 1 },
      "00000020 20008086 00000001 0000003c 00000001 00000001 00000000 00000001",
    );
    expectCall(
      connectOpen,
      2,
      { name: "qemu:///system", flags: 0 },
      `00000038 20008086 00000001 00000001 00000000 00000002 00000000 00000001 0000000e
       71656d75 3a2f2f2f 73797374 656d0000 00000000`,
    );
    expectReply(connectOpen, 2, undefined, "0000001c 20008086 00000001 00000001 00000001 00000002 00000000");
  });

  test("its information about its host and its domains", () => {
    expectReply(
      connectGetHostname,
      20,
      { hostname: "hosta" },
      "00000028 20008086 00000001 0000003b 00000001 00000014 00000000 00000005 686f7374 61000000",
    );
    expectCall(
      connectListAllDomains,
      24,
      { needResults: 1, flags: 0 },
      "00000024 20008086 00000001 00000111 00000000 00000018 00000000 00000001 00000000",
    );
    expectReply(
      connectListAllDomains,
      24,
      { domains: [tiny], ret: 1 },
      `00000040 20008086 00000001 00000111 00000001 00000018 00000000 00000001 ${tinyBytes} 00000001`,
    );
    expectCall(
      domainGetState,
      25,
      { dom: tiny, flags: 0 },
      `0000003c 20008086 00000001 000000d4 00000000 00000019 00000000 ${tinyBytes} 00000000`,
    );
    expectReply(
      domainGetState,
      25,
      { state: 5, reason: 0 },
      "00000024 20008086 00000001 000000d4 00000001 00000019 00000000 00000005 00000000",
    );
    expectReply(
      domainGetInfo,
      26,
      { state: 5, maxMem: 32768n, memory: 32768n, nrVirtCpu: 1, cpuTime: 0n },
      `0000003c 20008086 00000001 00000010 00000001 0000001a 00000000 00000005
       00000000 00008000 00000000 00008000 00000001 00000000 00000000`,
    );
  });

  test("a Begin that it refuses, with all strings of the error", () => {
    expectCall(
      domainMigrateBegin3Params,
      27,
      { dom: tiny, params: [], flags: 0x408 },
      `00000040 20008086 00000001 0000012e 00000000 0000001b 00000000 ${tinyBytes} 00000000 00000408`,
    );
    const message = "Requested operation is not valid: domain is not running";
    const header = { program: 0x2000_8086, version: 1, procedure: 302, type: "reply", serial: 28 } as const;
    expectBoth(
      `000000c8 20008086 00000001 0000012e 00000001 0000001c 00000001 00000037 00000014 00000001
       00000037 "${message}" 00 00000002 00000000
       00000001 00000024 "Requested operation is not valid: %s" 00000001 00000015
       "domain is not running" 000000 00000000 ffffffff ffffffff 00000000`,
      { ...header, status: "error" },
      errorStruct,
      new LibvirtError({
        code: 55,
        domain: 20,
        message,
        str1: "Requested operation is not valid: %s",
        str2: "domain is not running",
      }).toWire(),
    );
  });

  test("events and keepalive", () => {
    expectCall(
      connectDomainEventCallbackRegisterAny,
      34,
      { eventID: 0, dom: null },
      "00000024 20008086 00000001 0000013c 00000000 00000022 00000000 00000000 00000000",
    );
    expectReply(
      connectDomainEventCallbackRegisterAny,
      34,
      { callbackID: 0 },
      "00000020 20008086 00000001 0000013c 00000001 00000022 00000000 00000000",
    );
    expectMessage(
      remote.messages.domainEventCallbackLifecycle,
      1,
      { callbackID: 0, dom: tiny, event: 1, detail: 0 },
      `00000044 20008086 00000001 0000013e 00000002 00000001 00000000 00000000 ${tinyBytes} 00000001 00000000`,
    );
    const none = Buffer.alloc(0);
    expect(encodeFrame(ping, none)).toEqual(
      bytesOf("0000001c 6b656570 00000001 00000001 00000002 00000000 00000000"),
    );
    expect(encodeFrame(pong, none)).toEqual(
      bytesOf("0000001c 6b656570 00000001 00000002 00000002 00000000 00000000"),
    );
  });

  test("a typed parameter", () => {
    const bytes = bytesOf("00000001 00000009 62616e64 77696474 68000000 00000004 00000000 00000001");
    const params = [{ field: "bandwidth", type: "ullong", value: 1n }] as const;
    expect(decode(migrateParams, bytes)).toEqual(params);
    expect(encode(migrateParams, params)).toEqual(bytes);
  });
});

describe("the frame splitter", () => {
  const header: Header = {
    program: 0x2000_8086,
    version: 1,
    procedure: 304,
    type: "stream",
    serial: 7,
    status: "continue",
  };

  test("cuts the same messages however the bytes are split", () => {
    const bodies = [Buffer.alloc(0), Buffer.from("abc"), Buffer.alloc(1000, 1), Buffer.from("z")];
    const bytes = Buffer.concat(bodies.map((body) => encodeFrame(header, body)));
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const splitter = new FrameSplitter();
        const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        const read = places.flatMap((from, index) => splitter.push(bytes.subarray(from, places[index + 1])));
        expect(read.map(({ body }) => Buffer.from(body))).toEqual(bodies);
      }),
    );
  });

  test("refuses an invalid length as soon as it has read it", () => {
    for (const length of [0, 27, 16_777_221, 0xffff_ffff]) {
      const word = Buffer.alloc(4);
      word.writeUInt32BE(length);
      expect(() => new FrameSplitter().push(word), `${length}`).toThrow(RpcProtocolError);
    }
  });

  test("turns any bytes into messages, a wait for more, or an RpcProtocolError", () => {
    const aLength = fc.constantFrom(0, 27, 28, 29, 64, 16_777_220, 16_777_221);
    fc.assert(
      fc.property(fc.array(fc.tuple(aLength, fc.uint8Array({ maxLength: 80 }))), (pieces) => {
        const splitter = new FrameSplitter();
        try {
          for (const [length, bytes] of pieces) {
            const word = Buffer.alloc(4);
            word.writeUInt32BE(length);
            splitter.push(word);
            splitter.push(bytes);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(RpcProtocolError);
        }
      }),
    );
  });

  test("keeps one message whole while bytes arrive one by one, and returns views that do not change", () => {
    const bytes = encodeFrame(header, Buffer.from("the first"));
    const splitter = new FrameSplitter();
    const frames = [...bytes].flatMap((byte) => splitter.push(Uint8Array.of(byte)));
    splitter.push(encodeFrame(header, Buffer.from("the other")));
    expect(frames.map(({ body }) => Buffer.from(body).toString())).toEqual(["the first"]);
  });

  test("allocates memory for the bytes that have arrived, not for the announced length", () => {
    const asked: number[] = [];
    const spy = vi.spyOn(Buffer, "alloc").mockImplementation((size) => {
      asked.push(size);
      return Buffer.from(new ArrayBuffer(size));
    });
    const splitter = new FrameSplitter();
    splitter.push(Uint8Array.of(1, 0, 0, 4));
    for (let i = 0; i < 100; i += 1) splitter.push(new Uint8Array(10));
    spy.mockRestore();
    expect(Math.max(...asked)).toBeLessThanOrEqual(2 * 1004);
  });
});
