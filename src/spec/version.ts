/** The version of the OCI runtime specification that runk implements. */
export const OCI_VERSION = "1.3.0";
