//! The handshake with the kernel of this machine, before and after the first vCPU.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use fpstate_arch::{Component, ComponentSet};
use fpstate_kvm::permission::Kernel;
use fpstate_kvm::this_kernel::ThisKernel;
use fpstate_kvm::{Outcome, Permitted, SystemError};
use kvm_ioctls::Kvm;

/// One test: permissions are the process's, and freeze for good.
#[test]
fn the_kernel_of_this_machine_answers_as_its_row_of_the_table_says() {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => return eprintln!("SKIPPED, nothing was tested: /dev/kvm: {error}"),
    };
    let mut kernel = ThisKernel::of(&kvm);
    let (managed, offered) = (kernel.managed(), kernel.offered_by_kvm());
    eprintln!("managed {managed:?}, offered by KVM {offered:?}");
    let tiles = ComponentSet::only(Component::TileData);
    let permitted = Permitted::ask(&kvm, tiles);
    let &[(component, early)] = permitted.outcomes() else {
        panic!("one component, one outcome");
    };
    eprintln!("{component} before the first vCPU: {early}");
    assert_eq!(component, Component::TileData);
    assert_eq!(
        permitted.permitted().contains(component),
        early.is_granted()
    );
    match managed {
        Err(SystemError::EINVAL) => assert_eq!(early, Outcome::KernelManagesNone),
        Ok(managed) if !managed.contains(component) => {
            assert_eq!(early, Outcome::NotManaged { managed });
            // What is not asked then, because the answer would say less.
            assert_eq!(kernel.request(component), Err(SystemError::EOPNOTSUPP));
        }
        Ok(_) | Err(_) => {}
    }
    let outside = Component::from_number(62).unwrap();
    assert_eq!(kernel.request(outside), Err(SystemError::EINVAL));

    let vm = permitted.create_vm().unwrap();
    let _vcpu = vm.create_vcpu(0).unwrap();
    let late = Permitted::ask(&kvm, tiles);
    assert_eq!(
        late.outcomes(),
        permitted.outcomes(),
        "asking again changes nothing"
    );
    let nothing = Permitted::without_asking(&kvm);
    assert!(nothing.outcomes().is_empty());
    assert_eq!(nothing.permitted(), permitted.permitted());
}
