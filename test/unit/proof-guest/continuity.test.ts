// Checks that the continuity checker accepts every genuine stream, however it is cut, and finds each kind of fault.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ContinuityChecker,
  type ContinuityReport,
  checkContinuity,
  describeContinuity,
} from "../../../src/proof-guest/continuity.js";
import { simulateProofGuest } from "../../../src/proof-guest/model.js";

const parameters = { pages: 8, pagesPerTick: 3 };
const ascii = (text: string) => new TextEncoder().encode(text);
/** Lines of a genuine guest: the banner at index 0, then the line of count n at index n. */
const genuineLines = (counts: number, of = parameters) =>
  new TextDecoder().decode(simulateProofGuest(of, counts)).trimEnd().split("\n");
const bytesOf = (lines: readonly string[]) => ascii(`${lines.join("\n")}\n`);
const check = (...texts: Uint8Array[]): ContinuityReport =>
  checkContinuity(
    texts.map((bytes, index) => ({ name: ["source", "destination", "third"][index] ?? `${index}`, bytes })),
    parameters,
  );

describe("the model", () => {
  it("agrees with a guest that keeps its pages in memory", () => {
    const memory = new Uint32Array(parameters.pages);
    let checksum = 0;
    let visits = 0;
    const lines = ["boot pages=00000008 perTick=00000003"];
    const hex8 = (value: number) => value.toString(16).padStart(8, "0");
    for (let count = 1; count <= 50; count++) {
      for (let index = 0; index < parameters.pagesPerTick; index++) {
        const page = visits % parameters.pages;
        visits += 1;
        for (let dword = 0; dword < 2; dword++) {
          checksum = (((checksum << 5) | (checksum >>> 27)) + (memory[page] ?? 0)) >>> 0;
        }
        memory[page] = visits;
      }
      lines.push(`${hex8(count)} ${hex8(checksum)}`);
    }
    expect(genuineLines(50)).toEqual(lines);
  });
});

describe("a genuine run", () => {
  it("is accepted on one stream, with its counts and passes", () => {
    const report = check(simulateProofGuest(parameters, 40));
    expect(report).toMatchObject({ ok: true, faultCount: 0, firstCount: 1, lastCount: 40, lines: 40 });
    expect(report.cyclesVerified).toBe(Math.floor((40 * 3 - 8) / 8)); // the first pass only writes
    expect(describeContinuity(report)).toBe(
      "counted 1 to 40 without gap, repeat or reset; memory verified 14 times over",
    );
  });

  it("is accepted when the guest stayed and the other streams are empty", () => {
    expect(check(simulateProofGuest(parameters, 5), ascii(""), ascii("")).ok).toBe(true);
  });

  it("is accepted when the guest is still writing its last line", () => {
    const bytes = simulateProofGuest(parameters, 5);
    expect(check(bytes.subarray(0, -5))).toMatchObject({ ok: true, lastCount: 4 });
  });

  it("counts a stream's passes only over pages that were certainly read after the move", () => {
    const bytes = simulateProofGuest(parameters, 40);
    const moved = bytes.length - 8 * 18 - 9; // within a line: the line of count 32 ends at the destination
    const [source, destination] = check(bytes.subarray(0, moved), bytes.subarray(moved)).perStream;
    expect(source).toMatchObject({ name: "source", bytes: moved, firstCount: 1, lastCount: 31 });
    expect(destination).toMatchObject({ name: "destination", lines: 9, firstCount: 32, lastCount: 40 });
    expect(destination?.cyclesVerified).toBe((8 * 3) / 8);
  });

  it("is accepted wherever it is cut into streams", () => {
    fc.assert(
      fc.property(
        fc.record({ pages: fc.integer({ min: 1, max: 40 }), pagesPerTick: fc.integer({ min: 1, max: 12 }) }),
        fc.integer({ min: 1, max: 60 }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
        (of, counts, cuts) => {
          const bytes = simulateProofGuest(of, counts);
          const places = cuts.map((cut) => Math.floor(cut * bytes.length)).sort((a, b) => a - b);
          const starts = [0, ...places];
          const streams = starts.map((start, index) => ({
            name: `host ${index}`,
            bytes: bytes.subarray(start, places[index] ?? bytes.length),
          }));
          const report = checkContinuity(streams, of);
          expect(report).toMatchObject({ ok: true, lines: counts, lastCount: counts });
        },
      ),
    );
  });

  it("gives the same report when it is pushed byte by byte", () => {
    const bytes = simulateProofGuest(parameters, 20);
    const checker = new ContinuityChecker(parameters);
    for (const byte of bytes) checker.push("source", Uint8Array.of(byte));
    expect(checker.report()).toEqual(check(bytes));
  });
});

describe("a fault is found and named", () => {
  it("a lost line is a gap", () => {
    const report = check(bytesOf(genuineLines(9).toSpliced(5, 1)));
    expect(report.faults).toEqual([{ kind: "gap", afterCount: 4, foundCount: 6, stream: "source", line: 6 }]);
    expect(describeContinuity(report)).toBe("the count jumps from 4 to 6 at line 6 of source");
  });

  it("two running copies are a repeat, even when the second one's line is unfinished", () => {
    const lines = genuineLines(12);
    const twice = check(bytesOf(lines), bytesOf(lines.slice(8)));
    expect(twice.faults).toEqual([
      { kind: "repeat", afterCount: 12, foundCount: 8, stream: "destination", line: 1 },
    ]);
    expect(describeContinuity(twice)).toContain("two copies ran");
    expect(check(bytesOf(lines), ascii("00000008 1")).ok).toBe(false);
  });

  it("two copies are found even when the source was cut within a line", () => {
    const bytes = simulateProofGuest(parameters, 12);
    const report = check(bytes.subarray(0, -4), bytes.subarray(-18 * 3));
    expect(report.faults.map((fault) => fault.kind)).toEqual(["garbled", "repeat"]);
  });

  it("a second boot is a reset, on its own line or within another", () => {
    const first = simulateProofGuest(parameters, 6);
    const again = simulateProofGuest(parameters, 3);
    const reset = { kind: "reset", afterCount: 6, stream: "destination", line: 1 };
    expect(check(first, again).faults).toEqual([reset]);
    expect(check(first.subarray(0, -7), again).faults).toEqual([{ ...reset, afterCount: 5 }]);
    expect(describeContinuity(check(first, again))).toBe(
      "the guest was reset after count 6 at line 1 of destination",
    );
  });

  it("a stale page is reported as one memory fault, when it is read", () => {
    // A guest of the same size whose page 2 went back by one pass between the counts 10 and 11.
    const memory = Array.from({ length: 8 }, () => 0);
    let checksum = 0;
    let visits = 0;
    const lines = genuineLines(0);
    for (let count = 1; count <= 30; count++) {
      if (count === 11) memory[2] = (memory[2] ?? 0) - 8;
      for (let index = 0; index < 3; index++) {
        const page = visits++ % 8;
        for (let dword = 0; dword < 2; dword++) {
          checksum = (((checksum << 5) | (checksum >>> 27)) + (memory[page] ?? 0)) >>> 0;
        }
        memory[page] = visits;
      }
      lines.push([count, checksum].map((value) => value.toString(16).padStart(8, "0")).join(" "));
    }
    const report = check(bytesOf(lines));
    expect(report.faults).toMatchObject([{ kind: "memory", count: 12, stream: "source", line: 13 }]);
    expect(describeContinuity(report)).toContain("memory is lost or stale at count 12 at line 13 of source");
  });

  it("a broken line is garbled, and so is a stream without its boot banner", () => {
    const lines = genuineLines(4);
    const broken = check(bytesOf(lines.toSpliced(2, 0, "x".repeat(200))));
    expect(broken.faults).toEqual([
      { kind: "garbled", text: "x".repeat(80), expected: lines[2], stream: "source", line: 3 },
    ]);
    expect(check(bytesOf(lines.slice(1))).faults).toMatchObject([{ kind: "garbled", expected: lines[0] }]);
  });

  it("a guest with other parameters than expected is garbled", () => {
    const other = simulateProofGuest({ pages: 9, pagesPerTick: 3 }, 4);
    expect(check(other).faults[0]).toMatchObject({ kind: "garbled", line: 1 });
  });

  it("a guest that never counted is silent", () => {
    expect(check().faults).toEqual([{ kind: "silent", stream: "every stream" }]);
    expect(check(bytesOf(genuineLines(0)), ascii("")).faults).toEqual([{ kind: "silent", stream: "source" }]);
  });

  it("a stream that should carry lines and has none is silent", () => {
    const streams = [{ name: "source", bytes: simulateProofGuest(parameters, 4) }];
    const report = checkContinuity(streams, parameters, { expectLinesFrom: ["source", "destination"] });
    expect(report.faults).toEqual([{ kind: "silent", stream: "destination" }]);
    expect(describeContinuity(report)).toBe("destination does not contain a counted line");
  });

  it("only the first faults are kept, and all are counted", () => {
    const report = check(bytesOf([...genuineLines(1), ...Array.from({ length: 100 }, () => "noise")]));
    expect(report.faults).toHaveLength(20);
    expect(report.faultCount).toBe(100);
    expect(describeContinuity(report)).toContain("(and 99 more)");
  });
});

describe("any mutation of a genuine run", () => {
  const run = fc.integer({ min: 3, max: 40 }).chain((counts) =>
    fc.record({
      lines: fc.constant(genuineLines(counts)),
      index: fc.integer({ min: 0, max: counts - 1 }), // never the last line: without it the run is a shorter one
      digit: fc.integer({ min: 9, max: 16 }),
      flip: fc.integer({ min: 1, max: 15 }),
      cut: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  );
  type Run = typeof run extends fc.Arbitrary<infer T> ? T : never;
  const line = ({ lines }: Run, index: number) => lines[index] ?? "";

  const mutations: [string, (run: Run) => string[]][] = [
    ["a line dropped", ({ lines, index }) => lines.toSpliced(index, 1)],
    ["a line doubled", (run) => run.lines.toSpliced(run.index, 0, line(run, run.index))],
    [
      "two neighbours are swapped",
      (run) => run.lines.toSpliced(run.index, 2, line(run, run.index + 1), line(run, run.index)),
    ],
    [
      "a digit of a checksum flipped",
      (run) => {
        const genuine = line(run, run.index + 1);
        const flipped = (Number.parseInt(genuine[run.digit] ?? "0", 16) ^ run.flip).toString(16);
        return run.lines.with(
          run.index + 1,
          genuine.slice(0, run.digit) + flipped + genuine.slice(run.digit + 1),
        );
      },
    ],
    ["a boot banner put in", (run) => run.lines.toSpliced(run.index, 0, line(run, 0))],
  ];
  it.each(mutations)("is refused: %s, wherever the streams are cut", (_name, mutate) => {
    fc.assert(
      fc.property(run, (run) => {
        const bytes = bytesOf(mutate(run));
        const cut = Math.floor(run.cut * bytes.length);
        expect(check(bytes.subarray(0, cut), bytes.subarray(cut)).ok).toBe(false);
      }),
    );
  });
});
