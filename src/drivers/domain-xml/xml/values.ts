// The kinds of values in attributes and texts: parsing, printing, and the description for the documentation. A text that is
// not such a value is read as undefined, never as an approximation.

export interface Value<T> {
  /** Description for the documentation and for refusals, such as `on | off` or `0 to 31`. */
  readonly says: string;
  /** Matches every valid text, and possibly others. */
  readonly looks: RegExp;
  /** Minimum and maximum of a number. */
  readonly range?: readonly [number, number];
  parse(text: string): T | undefined;
  print(value: T): string;
}

/** One of an enumeration of words. */
export const word = <const Words extends readonly [string, ...string[]]>(
  ...words: Words
): Value<Words[number]> => ({
  says: words.join(" | "),
  looks: new RegExp(`^(?:${words.map((literal) => literal.replaceAll(/[.+]/g, "\\$&")).join("|")})$`),
  parse: (text) => words.find((candidate) => candidate === text),
  print: (value) => value,
});

const truth = (yes: string, no: string): Value<boolean> => ({
  says: `${yes} | ${no}`,
  looks: new RegExp(`^(?:${yes}|${no})$`),
  parse: (text) => (text === yes ? true : text === no ? false : undefined),
  print: (value) => (value ? yes : no),
});
export const yesNo = truth("yes", "no");
export const onOff = truth("on", "off");

const within = (value: number, min: number, max: number) =>
  Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined;

/** An integer; surrounding spaces are ignored. */
export const whole = (min: number, max: number): Value<number> => ({
  says: `${min} to ${max}`,
  looks: /^-?\d{1,16}$/,
  range: [min, max],
  parse: (text) => (/^\s*-?\d{1,16}\s*$/.test(text) ? within(Number(text), min, max) : undefined),
  print: String,
});

/** An integer that libvirt writes in hexadecimal, and reads in hexadecimal or decimal. */
export const hex = (digits: number, max: number): Value<number> => ({
  says: `0 to 0x${max.toString(16)}`,
  looks: /^0x[\da-f]{1,8}$/,
  range: [0, max],
  parse: (text) => (/^(?:0x[\da-fA-F]{1,8}|\d{1,10})$/.test(text) ? within(Number(text), 0, max) : undefined),
  print: (value) => `0x${value.toString(16).padStart(digits, "0")}`,
});

/** A text that matches the pattern, which is anchored at both ends. */
export const text = (says: string, looks: RegExp): Value<string> => ({
  says,
  looks,
  parse: (given) => (looks.test(given) ? given : undefined),
  print: (value) => value,
});

/** Every character that XML allows except the carriage return, which does not survive a round trip. */
export const anyText = text("any text", /^[\t\n\u0020-\uD7FF\uE000-\uFFFC\u{10000}-\u{10FFFF}]*$/u);
export const someText = text("some text", /^[\t\n\u0020-\uD7FF\uE000-\uFFFC\u{10000}-\u{10FFFF}]+$/u);
/** An absolute path; QEMU would resolve a relative one against directories of its own. */
export const path = text("an absolute path", /^\/[^\0\n]{0,4095}$/);
/** A UUID, written in lower case as libvirt does, and read in either case. */
export const uuid: Value<string> = {
  says: "a UUID",
  looks: /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/,
  parse: (given) => {
    const digits = given.trim().toLowerCase().replaceAll("-", "");
    return /^[\da-f]{32}$/.test(digits)
      ? digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
      : undefined;
  },
  print: (value) => value,
};
/** A unicast MAC address, as libvirt writes it. */
export const mac: Value<string> = {
  says: "a unicast MAC address",
  looks: /^[\da-f][02468ace](?::[\da-f]{2}){5}$/,
  parse: (given) => {
    const small = given.toLowerCase();
    return /^[\da-f][02468ace](?::[\da-f]{2}){5}$/.test(small) ? small : undefined;
  },
  print: (value) => value,
};
