// Tests the parsers of addresses from peers, and the escaping of their text, with arbitrary text (G1, G7).

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  anywhere,
  connectionUri,
  hostName,
  hostOf,
  isConnectionUri,
  isHostName,
  isLoopback,
  isSocketPath,
  isStreamAddress,
  PeerTextError,
  partsOf,
  type Reach,
  socketPath,
  streamAddress,
  tcpAddress,
  unixAddress,
} from "../../../src/protocol/peer-text.js";
import {
  printable,
  printableJson,
  printableLines,
  quoted,
  safeJson,
} from "../../../src/protocol/printable.js";

const reach: Reach = { unixDirectories: ["/run/switchover", "/srv/sockets/**"], loopback: false };
const certificates = false;
const runs = { numRuns: 3_000 };

/** Pieces of attacks and near misses, mixed with arbitrary text. */
const pieces = fc.constantFrom(
  ...[
    "tcp:",
    "unix:",
    "exec:",
    "fd:",
    "file:",
    "rdma:",
    "TCP:",
    "//",
    "/",
    "[",
    "]",
    ":",
    ",",
    "%",
    "-",
    "..",
    ".",
  ],
  ...[
    "localhost",
    "127.0.0.1",
    "::1",
    "::ffff:7f00:1",
    "0x7f.1",
    "2130706433",
    "host.example",
    "49152",
    "65536",
  ],
  ...[
    "0",
    "\0",
    "\n",
    "\u001b",
    "\u202e",
    " ",
    "/run/switchover",
    "/srv/sockets",
    "/etc/passwd",
    "touch",
    "to=1",
  ],
  ...[
    "qemu+tls://",
    "qemu+unix:///system",
    "qemu+tcp://",
    "qemu+ssh://",
    "/system",
    "?socket=",
    "&",
    "?pkipath=",
  ],
);
const anything = fc
  .array(
    fc.oneof({ weight: 4, arbitrary: pieces }, { weight: 1, arbitrary: fc.string({ unit: "binary" }) }),
    {
      maxLength: 8,
    },
  )
  .map((parts) => parts.join(""));
/** Whole addresses, most of them with one invalid part. */
const host = fc.constantFrom(
  "host.example",
  "192.0.2.7",
  "[2001:db8::1]",
  "localhost",
  "[::1]",
  "-x",
  "a,b",
  "a%b",
);
const path = fc.constantFrom(
  "/run/switchover/a",
  "/srv/sockets/b/c",
  "/run/switchover/b/c",
  "/etc/passwd",
  "a",
);
const whole = fc.oneof(
  fc.tuple(
    fc.constantFrom("tcp:", "tcp://", "rdma:"),
    host,
    fc.constant(":"),
    fc.integer({ min: -1, max: 65_600 }),
  ),
  fc.tuple(fc.constantFrom("unix:", "unix://", "exec:"), path),
  fc.tuple(
    fc.constantFrom("qemu+tls://", "qemu+tcp://", "qemu+ssh://"),
    host,
    fc.constantFrom("/system", "/x", ""),
  ),
  fc.tuple(fc.constantFrom("qemu+unix:///system?socket=", "qemu:///session?socket="), path),
);
const text = fc.oneof(
  anything,
  whole.map((parts) => parts.join("")),
  fc.tuple(whole, anything).map(([parts, more]) => parts.join("") + more),
);

/** Returns the result; undefined for a refusal. Any other exception fails the test. */
function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    expect(error).toBeInstanceOf(PeerTextError);
    const { message } = error as PeerTextError;
    expect(printable(message)).toBe(message);
    expect(message.length).toBeLessThan(1_500);
    return undefined;
  }
}

const grammar = /^(?:unix:(?:\/[^/,\p{Cc}]+)+|tcp:(?:\[[\da-fA-F:.]+\]|[\w.-]+):[1-9]\d{0,4})$/u;

describe("an address of a stream", () => {
  test("is refused with a reason or is within the grammar, whatever the text", () => {
    let accepted = 0;
    fc.assert(
      fc.property(text, (given) => {
        const address = parsed(() => streamAddress(given, reach));
        if (address === undefined) return;
        accepted++;
        expect(address).toMatch(grammar);
        expect(isStreamAddress(address)).toBe(true);
        expect(streamAddress(address, reach)).toBe(address);
        const parts = partsOf(address);
        expect(parts.type === "unix" ? unixAddress(parts.path) : tcpAddress(parts.host, parts.port)).toBe(
          address,
        );
        const name = hostOf(address);
        if (name !== undefined) expect(isLoopback(name)).toBe(false);
      }),
      runs,
    );
    expect(accepted).toBeGreaterThan(50);
  });

  test.each([
    ["tcp:host.example:49152", "tcp:host.example:49152"],
    ["tcp://host.example:49152", "tcp:host.example:49152"],
    ["tcp://192.0.2.7:49152/", "tcp:192.0.2.7:49152"],
    ["tcp:[2001:db8::1]:49152", "tcp:[2001:db8::1]:49152"],
    ["unix:/run/switchover/a.sock", "unix:/run/switchover/a.sock"],
    ["unix:///srv/sockets/b/a.sock", "unix:/srv/sockets/b/a.sock"],
  ])("%s is taken", (given, address) => {
    expect(streamAddress(given, reach)).toBe(address);
  });

  test.each([
    ["exec:touch /tmp/x", 'the scheme "exec" is not supported'],
    ["fd:3", 'the scheme "fd" is not supported'],
    ["rdma:host.example:49152", "rdma is not supported"],
    ["host.example:49152", "is not supported"],
    ["", "has no scheme"],
    ["unix:relative", "must be absolute"],
    ["unix:/etc/passwd", "unixDirectories"],
    ["unix:/run/switchover/web-1/main.sock", "unixDirectories"],
    ["unix:/run/switchover/../../etc/passwd", "must not contain empty parts"],
    ["unix:/run/switchover//a", "must not contain empty parts"],
    ["unix:/run/switchover/a,server=on", "commas"],
    ["unix:/run/switchover/a\0b", "control characters"],
    [`unix:/run/switchover/${"a".repeat(100)}`, "longer than 107 bytes"],
    [`tcp:${"a".repeat(2_000)}:1`, "longer than 1024"],
    ["tcp:host:0", "port"],
    ["tcp:host:65536", "port"],
    ["tcp:host:049152", "port"],
    ["tcp:host:49152,to=65535", "port"],
    ["tcp::49152", "host"],
    ["tcp:-oProxyCommand=x:22", "host"],
    ["tcp:[fe80::1%eth0]:49152", "host"],
    ["tcp:[host]:49152", "brackets"],
    ["tcp:0x7f.1:49152", "host"],
    ["tcp:2130706433:49152", "host"],
    ["tcp:127.1:49152", "host"],
    ["tcp:localhost:49152", "loopback"],
    ["tcp:LocalHost.:49152", "loopback"],
    ["tcp:x.localhost:49152", "loopback"],
    ["tcp:127.9.9.9:49152", "loopback"],
    ["tcp:0.0.0.0:49152", "loopback"],
    ["tcp:[::]:49152", "loopback"],
    ["tcp:[0:0:0:0:0:0:0:1]:49152", "loopback"],
    ["tcp:[::ffff:127.0.0.1]:49152", "loopback"],
    ["tcp:[::127.0.0.1]:49152", "loopback"],
  ])("%j is refused: %s", (given, why) => {
    expect(() => streamAddress(given, reach)).toThrow(why);
  });
});

describe("a host, a socket and a connection URI", () => {
  test("are refused with a reason or parse to themselves, whatever the text", () => {
    fc.assert(
      fc.property(text, (given) => {
        const name = parsed(() => hostName(given));
        if (name !== undefined) expect(isHostName(name) && /^[\w:.][\w:.-]*$/.test(name)).toBe(true);
        const socket = parsed(() => socketPath(given, anywhere));
        if (socket !== undefined) expect(isSocketPath(socket) && socket === given).toBe(true);
        const uri = parsed(() => connectionUri(given, { ...reach, certificates }));
        if (uri !== undefined)
          expect(isConnectionUri(uri) && !new URL(uri).searchParams.has("pkipath")).toBe(true);
      }),
      runs,
    );
  });

  test.each([
    "qemu+tls://host.example/system",
    "qemu://host.example/system",
    "qemu+tcp://[2001:db8::1]:16509/system",
    "qemu+unix:///system?socket=/run/switchover/switchover-sock",
  ])("%s is dialled", (uri) => {
    expect(connectionUri(uri, { ...reach, certificates })).toBe(uri);
  });

  test.each([
    ["qemu+ssh://host.example/system", 'the scheme "qemu+ssh" is not supported'],
    ["qemu+ext://host.example/system?command=/bin/sh", "is not supported"],
    ["qemu+unix:///system?socket=/etc/passwd", "unixDirectories"],
    ["qemu+unix:///system?socket=/run/switchover/../../etc/passwd", "must not contain empty parts"],
    ["qemu+unix:///system", "unixDirectories"],
    ["qemu:///system", "unixDirectories"],
    ["qemu+tls://host.example/system?pkipath=/etc", "pkipath"],
    ["qemu+tls://host.example/system?no_verify=1", "no_verify"],
    ["qemu+tls://root@host.example/system", "user"],
    ["qemu+tls://localhost/system", "loopback"],
    ["qemu+tls://ho%73t/system", "host"],
    ["qemu+tls://host.example/elsewhere", "path"],
    ["qemu+tls:///system", "does not name a host"],
  ])("%j is not dialled: %s", (uri, why) => {
    expect(() => connectionUri(uri, { ...reach, certificates })).toThrow(why);
  });
});

describe("text that is printed", () => {
  const dangerous = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/u;
  const any = fc.oneof(text, fc.string({ unit: "binary" }), fc.string());

  test("is one line without terminal control sequences, and is unchanged when it is safe", () => {
    fc.assert(
      fc.property(any, (given) => {
        const shown = printable(given);
        expect(shown).not.toMatch(dangerous);
        expect(shown).not.toMatch(/\p{Cs}/u);
        expect(printable(shown)).toBe(shown);
        expect(printableLines(given).split("\n")).toHaveLength(given.split("\n").length);
        expect(quoted(given).length).toBeLessThan(1_500);
      }),
      runs,
    );
    expect(printable("web-1 → b.example: 23,7 ms")).toBe("web-1 → b.example: 23,7 ms");
    expect(printable("a\u001b[31m\nswitchover: all is well\u202e")).toBe(
      "a\\u001b[31m\\nswitchover: all is well\\u202e",
    );
  });

  test("as JSON parses to the original text", () => {
    fc.assert(
      fc.property(any, (given) => {
        const line = printableJson({ given });
        expect(line).not.toMatch(dangerous);
        expect(JSON.parse(line)).toEqual({ given });
        expect(safeJson(`${JSON.stringify({ given })}\n`)).toBe(`${line}\n`);
      }),
      runs,
    );
  });
});
