// The form of one row of the table of migration options. Everything that depends on an option (types, schema, command
// line, virsh's table, libvirt's flags and parameters, negotiation between two QEMUs, checks, documents) is derived
// from rows.

/** The values that an option takes. */
export type OptionType =
  /** On or off; options whose names begin with this one's name tune it. In the library's API it is an object. */
  | { readonly kind: "group" }
  /** On or off; false is the same as absent. */
  | { readonly kind: "switch" }
  /** Both values have a meaning; absent is a third one. */
  | { readonly kind: "choice" }
  | { readonly kind: "number"; readonly min: number; readonly max: number; readonly powerOfTwo?: true }
  | { readonly kind: "text" }
  /** On the command line the name of a file; its text is the value. */
  | { readonly kind: "file" }
  | { readonly kind: "list" }
  /**
   * A list of members of the group that its name begins with: it turns these members on, and is not in the library's
   * API.
   */
  | { readonly kind: "members" };

export const group = { kind: "group" } as const;
export const onOff = { kind: "switch" } as const;
export const choice = { kind: "choice" } as const;
export const text = { kind: "text" } as const;
export const file = { kind: "file" } as const;
export const list = { kind: "list" } as const;
export const members = { kind: "members" } as const;
export const whole = (min: number, max: number) => ({ kind: "number", min, max }) as const;
export const powerOfTwo = (min: number, max: number) =>
  ({ kind: "number", min, max, powerOfTwo: true }) as const;
export const mebibytesPerSecond = whole(0, 8_000_000);

/** The name of libvirt's error code with which a host rejects a combination. */
export type RefusalCode =
  | "INVALID_ARG"
  | "ARGUMENT_UNSUPPORTED"
  | "OPERATION_INVALID"
  | "OPERATION_UNSUPPORTED";

/** A relation to another option. The message names both options and ends with `why`. */
export interface Relation<Name extends string = string> {
  readonly option: Name;
  readonly why: string;
  /** Default: INVALID_ARG. */
  readonly code?: RefusalCode;
  /** libvirt's own client also rejects this, before it calls a host. */
  readonly byClient?: true;
}

/**
 * An option that must also be given; `orOption` is an alternative, and `onlyWith` limits the need to requests with
 * that option.
 */
export interface Need<Name extends string = string> extends Relation<Name> {
  readonly orOption?: Name;
  readonly onlyWith?: Name;
}

export interface CommandLineOption {
  /** As commander reads it, such as `--parallel-connections <n>`. */
  readonly words: string;
  readonly help: string;
  /** The option acts while the migration runs; `drain` does not have it. */
  readonly steered?: true;
}

/** The flag or parameter that is sent to libvirt's hosts. */
export interface LibvirtOption<Flag extends string = string, Parameter extends string = string> {
  readonly flag?: Flag;
  /** The value of the flag. */
  readonly bit?: number;
  /** A typed parameter: its name on the wire. */
  readonly parameter?: string;
  readonly type?: "string" | "int" | "ullong";
  /** The parameter's name in `MigrateParameters`. */
  readonly as?: Parameter;
  /** The option is on when the list parameter of its group contains this word. */
  readonly listed?: string;
  /** The option is not sent to the destination. */
  readonly sourceOnly?: true;
  /** libvirt accepts and ignores this option when its group is off. */
  readonly ignoredAlone?: true;
  /** The fixed forms of the protocol (without typed parameters) that carry it. */
  readonly fixedForms?: readonly ("version 2" | "version 3")[];
}

export interface VirshRow {
  readonly option: `--${string}`;
  /** Why a host rejects it; absent when it is supported. */
  readonly refused?: string;
  /** A note beyond libvirt's manual. */
  readonly note?: string;
  /** The first release of libvirt whose virsh has it, when later than 9.0. */
  readonly since?: string;
}

/** The settings in QEMU. QEMU is asked which options it has; its version is never used for that. */
export interface QemuOption {
  readonly capability?: string;
  readonly parameter?: string;
  /** The side on which the parameter is set; both when absent. */
  readonly at?: "source" | "destination";
  /** QEMU's unit divided by ours. */
  readonly unit?: number;
  /** Sent when the group is on and no value is given: both sides need the same value. */
  readonly default?: number;
  /** Like `default`, with the host name of the stream's address. */
  readonly defaultsToHost?: true;
  /** Parameters with a fixed value while the option is on, and while it is off. */
  readonly sets?: Readonly<Record<string, string | number>>;
  readonly clears?: Readonly<Record<string, string | number>>;
  /** Whether both QEMUs must support it, or only the source. For options that are not part of a group's setting. */
  readonly of?: "stream" | "source";
  /**
   * The first QEMU that has it, when later than 7.2, and the first that no longer has it; shown when a QEMU lacks it.
   */
  readonly since?: string;
  readonly until?: string;
}

export interface MigrationOption<
  Name extends string = string,
  Flag extends string = string,
  Parameter extends string = string,
> {
  readonly type: OptionType;
  /**
   * Its name in messages for readers to whom it has no other name, such as an option of libvirt on our command line.
   */
  readonly called?: string;
  readonly cli?: CommandLineOption;
  readonly libvirt?: LibvirtOption<Flag, Parameter>;
  readonly virsh?: VirshRow;
  readonly qemu?: QemuOption;
  readonly needs?: readonly Need<Name>[];
  readonly excludes?: readonly Relation<Name>[];
  /** At least one member of this group must be given; otherwise this message is reported. */
  readonly needsMember?: string;
  /** The member used when none is named and no given option excludes it. */
  readonly defaultMember?: Name;
  /** Its value must not exceed that option's value. */
  readonly atMost?: Name;
  /** May be listed in `optional`: it is left out where a QEMU does not support it. */
  readonly mayBeLeftOut?: true;
  /**
   * The option's name in the library's `migrate`, within one machine, or why there is none. Default: `stream.` and
   * the row's name.
   */
  readonly local?: string | { readonly none: string };
}
