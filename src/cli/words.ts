// What a person has said on the command line, after commander has checked each word.

/** Exit code for words or numbers that cannot be used; nothing has been started then. */
export const badInputExitCode = 2;

export interface MigrateWords {
  readonly name: string;
  readonly binary: string;
  readonly memory: number;
  readonly workingSet: number;
  readonly dirtyRate: number;
  readonly bandwidth: number;
  readonly maxDowntime: number;
  readonly stall: number;
  readonly transport: "unix" | "tcp";
  readonly journal?: string;
  readonly story?: true;
  readonly json?: true;
}
