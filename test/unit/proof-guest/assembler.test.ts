// Compares the assembler's encodings with bytes from the Intel manual, and checks its labels.
import { describe, expect, it } from "vitest";
import { Assembler, addressOf, at, atRegister } from "../../../src/proof-guest/assembler.js";

/** Returns the code in hex, as emitted at linear address 0xf0000. */
function assembled(bits: 16 | 32, emit: (asm: Assembler) => void): string {
  const asm = new Assembler(0xf0000);
  asm.bits(bits);
  emit(asm);
  return Buffer.from(asm.assemble()).toString("hex");
}

describe("instructions", () => {
  const encodings: [string, 16 | 32, (asm: Assembler) => void, string][] = [
    ["mov edi, 0x100000", 32, (asm) => asm.mov("edi", 0x100000), "bf00001000"],
    ["mov eax, 1 in 16-bit code", 16, (asm) => asm.mov("eax", 1), "66b801000000"],
    ["mov ebx, [0x1004]", 32, (asm) => asm.load("ebx", at(0x1004)), "8b1d04100000"],
    ["mov [edi+0xffc], edx", 32, (asm) => asm.store(atRegister("edi", 0xffc), "edx"), "8997fc0f0000"],
    ["mov [0xfee000f0], eax", 32, (asm) => asm.store(at(0xfee000f0), "eax"), "8905f000e0fe"],
    ["mov ss, ax", 32, (asm) => asm.movSegmentFromAx("ss"), "8ed0"],
    ["mov cr0, eax", 16, (asm) => asm.movCr0FromEax(), "0f22c0"],
    ["add ebx, [edi]", 32, (asm) => asm.add("ebx", atRegister("edi")), "039f00000000"],
    ["add ebx, eax", 32, (asm) => asm.add("ebx", "eax"), "03d8"],
    ["add edi, 4096", 32, (asm) => asm.add("edi", 4096), "81c700100000"],
    ["cmp edi, 0x200000", 32, (asm) => asm.cmp("edi", 0x200000), "81ff00002000"],
    ["inc dword [0x1000]", 32, (asm) => asm.inc(at(0x1000)), "ff0500100000"],
    ["inc edx", 32, (asm) => asm.inc("edx"), "ffc2"],
    ["dec ecx", 32, (asm) => asm.dec("ecx"), "ffc9"],
    ["rol ebx, 5", 32, (asm) => asm.rol("ebx", 5), "c1c305"],
    ["push eax; pop eax", 32, (asm) => [asm.push("eax"), asm.pop("eax")], "5058"],
    ["test al, 0x20", 32, (asm) => asm.testAl(0x20), "a820"],
    ["out 0x3f8 by way of dx", 32, (asm) => asm.outb(0x3f8, 0x41), "baf8030000b041ee"],
    ["in eax, dx; out dx, eax", 32, (asm) => [asm.inEaxDx(), asm.outDxEax()], "edef"],
    ["jmp [0x101c]", 32, (asm) => asm.jmpTo(at(0x101c)), "ff251c100000"],
    ["sti; hlt; cli; cld", 32, (asm) => [asm.sti(), asm.hlt(), asm.cli(), asm.cld()], "fbf4fafc"],
  ];
  it.each(encodings)("%s is encoded for %i bits", (_text, bits, emit, expected) => {
    expect(assembled(bits, emit)).toBe(expected);
  });

  it("a memory operand is refused in a 16-bit section", () => {
    expect(() => assembled(16, (asm) => asm.load("eax", at(0)))).toThrow("belongs in a 32-bit section");
  });
});

describe("labels", () => {
  it("a label may be used before it is placed", () => {
    const code = assembled(32, (asm) => {
      asm.jz("end");
      asm.hlt();
      asm.label("end");
      asm.ret();
    });
    expect(code).toBe("7401f4c3");
  });

  it("a backward jump and a call count from the next instruction", () => {
    const code = assembled(32, (asm) => {
      asm.label("start");
      asm.jmpShort("start");
      asm.call("start");
    });
    expect(code).toBe("ebfee8f9ffffff");
  });

  it("a 16-bit jump wraps within its segment, as from the reset vector to the image's start", () => {
    const code = assembled(16, (asm) => {
      asm.label("entry");
      asm.padTo(0xffff0);
      asm.jmp("entry");
    });
    expect(code.slice(-6)).toBe("e90d00");
  });

  it("an address is linear and a gate holds it in two halves", () => {
    const code = assembled(32, (asm) => {
      asm.label("here");
      asm.dword(addressOf("here"));
      asm.interruptGate(8, "here");
      asm.jmpFar(8, "here");
    });
    expect(code).toBe(`00000f00${"00000800008e0f00"}${"ea00000f000800"}`);
  });

  it("an unknown label is refused by name", () => {
    expect(() => assembled(32, (asm) => asm.jmp("nowhere"))).toThrow('unknown label "nowhere"');
  });

  it("a label placed twice is refused by name", () => {
    expect(() => assembled(32, (asm) => [asm.label("twice"), asm.label("twice")])).toThrow(
      '"twice" is placed twice',
    );
  });

  it.each([127, 128])("a short jump reaches 127 bytes forward and no more (%i)", (distance) => {
    const jump = () =>
      assembled(32, (asm) => {
        asm.jmpShort("far");
        asm.padTo(asm.address + distance);
        asm.label("far");
      });
    if (distance > 127) expect(jump).toThrow('short jump to "far" spans 128 bytes');
    else expect(jump().slice(0, 4)).toBe("eb7f");
  });

  it("padding to an address that was already passed is refused", () => {
    expect(() => assembled(32, (asm) => [asm.dword(0), asm.padTo(0xf0002)])).toThrow("beyond 0xf0002");
  });
});
