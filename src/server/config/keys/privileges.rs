//! `[privileges]`: what is given up once everything is open.

use crate::server::config::kinds::{Boolean, List, OptionalText};
use crate::server::config::reader::Reader;
use crate::server::config::table::Reload::Restart;
use crate::server::config::table::{Key, Section};
use crate::server::sandbox::PrivilegeSettings;
use crate::values::endpoint::check_interface;

pub(crate) static PRIVILEGES: Section<PrivilegeSettings> = Section {
    name: "privileges",
    title: "[privileges]",
    doc: "What is given up once everything is open, so that an intruder gains little. The log says \
          at the start what is active. A reload reads files as `user`, so let that user read them, \
          and keep them in a directory of their own: other directories are out of reach.",
    notes: &[],
    keys: &[
        Key {
            name: "privileges.switch_user",
            doc: "Whether a process that was started as root becomes another user.",
            example: "false",
            reload: Restart,
            value: &Boolean::<PrivilegeSettings> {
                get: |privileges| privileges.switch_user,
                set: |privileges, on| privileges.switch_user = on,
            },
        },
        Key {
            name: "privileges.user",
            doc: "The user that the process becomes, with the user's own group and no other. If a \
                  user is named here and the system does not let the process become it, ringtide \
                  does not start.",
            example: "\"ringtide\"",
            reload: Restart,
            value: &OptionalText::<PrivilegeSettings, _> {
                unit: "the name or number of a user other than root",
                absent: "the user \"ringtide\" if there is one, otherwise \"nobody\"",
                parse: parse_user,
                get: |privileges| privileges.user.clone(),
                set: |privileges, user| privileges.user = user,
            },
        },
        Key {
            name: "privileges.drop_capabilities",
            doc: "Whether all capabilities are dropped.",
            example: "false",
            reload: Restart,
            value: &Boolean::<PrivilegeSettings> {
                get: |privileges| privileges.drop_capabilities,
                set: |privileges, on| privileges.drop_capabilities = on,
            },
        },
        Key {
            name: "privileges.broker",
            doc: "Whether a relay has a second process that keeps CAP_NET_RAW and CAP_NET_ADMIN \
                  and opens sockets on request. Without it, rules that are added and interfaces \
                  that come back get no sockets. It is started only where capabilities are there \
                  and get dropped.",
            example: "false",
            reload: Restart,
            value: &Boolean::<PrivilegeSettings> {
                get: |privileges| privileges.broker,
                set: |privileges, on| privileges.broker = on,
            },
        },
        Key {
            name: "privileges.interfaces",
            doc: "Interfaces that the broker opens sockets on, whatever the destination, besides \
                  those that rules of this file name. Rules added in other ways need them. Read \
                  only at the start.",
            example: "[\"veth2\"]",
            reload: Restart,
            value: &List::<PrivilegeSettings, _> {
                unit: "names of interfaces",
                allowed: String::new,
                because: "",
                absent: "",
                parse: parse_interface,
                check: |_| Ok(()),
                get: |privileges| privileges.interfaces.clone(),
                set: |privileges, interfaces| privileges.interfaces = interfaces,
            },
        },
        Key {
            name: "privileges.no_new_privileges",
            doc: "Whether no program that this process might run can have more privileges than it \
                  has. `seccomp` and `landlock` need it.",
            example: "false",
            reload: Restart,
            value: &Boolean::<PrivilegeSettings> {
                get: |privileges| privileges.no_new_privileges,
                set: |privileges, on| privileges.no_new_privileges = on,
            },
        },
        Key {
            name: "privileges.seccomp",
            doc: "Whether system calls that are not needed fail, and hostile ones kill the \
                  process. On a kernel without seccomp, the log has a warning.",
            example: "false",
            reload: Restart,
            value: &Boolean::<PrivilegeSettings> {
                get: |privileges| privileges.seccomp,
                set: |privileges, on| privileges.seccomp = on,
            },
        },
        Key {
            name: "privileges.landlock",
            doc: "Whether files that are not needed are out of reach. It needs Linux 5.13 with \
                  Landlock; on others, the log has a warning.",
            example: "false",
            reload: Restart,
            value: &Boolean::<PrivilegeSettings> {
                get: |privileges| privileges.landlock,
                set: |privileges, on| privileges.landlock = on,
            },
        },
    ],
};

/// Checks that filters come with what the kernel requires for them.
pub(super) fn check(file: &mut Reader<'_>, privileges: &mut PrivilegeSettings) -> Vec<String> {
    if !privileges.no_new_privileges {
        for (key, on) in [
            ("privileges.seccomp", privileges.seccomp),
            ("privileges.landlock", privileges.landlock),
        ] {
            if on {
                file.problem(key, NEEDS_NO_NEW_PRIVILEGES);
            }
        }
    }
    Vec::new()
}

fn parse_user(name: &str) -> Result<String, String> {
    match name {
        "" | "root" | "0" => Err("must name a user other than root".to_owned()),
        name if name.contains('\0') => Err("a name cannot contain a NUL".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn parse_interface(name: &str) -> Result<String, String> {
    check_interface(name).map_err(|error| error.to_string())?;
    Ok(name.to_owned())
}

const NEEDS_NO_NEW_PRIVILEGES: &str =
    "needs no_new_privileges; switch both off, or neither (the kernel permits it only so)";
