use super::Description;
pub(super) fn describe(_payload: &[u8]) -> Description {
    Description::default()
}
