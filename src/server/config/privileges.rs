//! The section `[privileges]`: what is given up once everything is open.

use super::file::set;
use super::reader::Reader;
use crate::server::sandbox::PrivilegeSettings;
use crate::values::endpoint::check_interface;

/// Reads the section.
pub(super) fn read_privileges(file: &mut Reader<'_>) -> PrivilegeSettings {
    let mut privileges = PrivilegeSettings::default();
    file.section("privileges");
    set(&mut privileges.switch_user, file.boolean("privileges.switch_user"));
    privileges.user = file.string("privileges.user", |name| match name {
        "" | "root" | "0" => Err("must name a user other than root".to_owned()),
        name if name.contains('\0') => Err("a name cannot contain a NUL".to_owned()),
        name => Ok(name.to_owned()),
    });
    set(&mut privileges.drop_capabilities, file.boolean("privileges.drop_capabilities"));
    set(&mut privileges.broker, file.boolean("privileges.broker"));
    let interfaces = file.strings("privileges.interfaces", parse_interface);
    set(&mut privileges.interfaces, interfaces);
    set(&mut privileges.no_new_privileges, file.boolean("privileges.no_new_privileges"));
    set(&mut privileges.seccomp, file.boolean("privileges.seccomp"));
    set(&mut privileges.landlock, file.boolean("privileges.landlock"));
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
    privileges
}

fn parse_interface(name: &str) -> Result<String, String> {
    check_interface(name).map_err(|error| error.to_string())?;
    Ok(name.to_owned())
}

const NEEDS_NO_NEW_PRIVILEGES: &str =
    "needs no_new_privileges; switch both off, or neither (the kernel permits it only so)";
