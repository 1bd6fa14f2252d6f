// Defines RPC programs: procedures and messages, each with its number and its types. libvirt's programs are tables of this
// form, and so is the program that two switchoverds use between them.

import type { Xdr } from "./xdr.js";

interface ProgramId {
  readonly number: number;
  readonly version: number;
}

/**
 * Classifies a procedure by its effect. `read`: changes nothing. `own`: changes only the caller's own connection. `write`:
 * everything else; refused on a read-only connection.
 */
type Access = "read" | "own" | "write";

export interface ProcedureRow<A, R, S extends boolean> {
  readonly number: number;
  readonly access: Access;
  readonly args: Xdr<A>;
  readonly ret: Xdr<R>;
  /** Whether a byte stream follows the reply on the same serial. */
  readonly stream: S;
  /** Whether the call overtakes queued calls. */
  readonly urgent: boolean;
}

export interface MessageRow<T> {
  readonly number: number;
  readonly body: Xdr<T>;
}

interface Named {
  readonly name: string;
  readonly program: ProgramId;
}

export interface Procedure<A, R, S extends boolean = boolean> extends ProcedureRow<A, R, S>, Named {}
/** An unsolicited message from the server. */
export interface Message<T> extends MessageRow<T>, Named {}

type Rows = Readonly<Record<string, ProcedureRow<unknown, unknown, boolean>>>;
type MessageRows = Readonly<Record<string, MessageRow<unknown>>>;

export interface Program<P extends Rows = Rows, M extends MessageRows = MessageRows> extends ProgramId {
  readonly procedures: { readonly [N in keyof P]: P[N] & Named };
  readonly messages: { readonly [N in keyof M]: M[N] & Named };
}

export const procedure = <A, R>(
  number: number,
  access: Access,
  args: Xdr<A>,
  ret: Xdr<R>,
): ProcedureRow<A, R, false> => ({ number, access, args, ret, stream: false, urgent: false });

export const urgent = <A, R>(
  number: number,
  access: Access,
  args: Xdr<A>,
  ret: Xdr<R>,
): ProcedureRow<A, R, false> => ({ ...procedure(number, access, args, ret), urgent: true });

export const opensStream = <A, R>(
  number: number,
  access: Access,
  args: Xdr<A>,
  ret: Xdr<R>,
): ProcedureRow<A, R, true> => ({ ...procedure(number, access, args, ret), stream: true });

export const message = <T>(number: number, body: Xdr<T>): MessageRow<T> => ({ number, body });

/** Adds the name and the program to each row, so that a procedure can be used on its own. */
export function program<P extends Rows, M extends MessageRows>(
  id: ProgramId,
  tables: { readonly procedures: P; readonly messages: M },
): Program<P, M> {
  const named = <R extends object>(rows: Readonly<Record<string, R>>) =>
    Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, { ...row, name, program: id }]));
  return { ...id, procedures: named(tables.procedures), messages: named(tables.messages) } as Program<P, M>;
}

/** Program number of switchover's own tables: "SWOV". */
export const ownProgram: ProgramId = { number: 0x53_57_4f_56, version: 1 };
