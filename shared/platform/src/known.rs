//! What may stand in a log of what others have said. A caller's or a server's text may be an address, a token or a whole
//! event, and nothing tells these apart: only words that are known here pass.

/// The error codes of the services that the functions call, and those that all services share (AWS's API references:
/// SQS, Data Firehose, Systems Manager, CloudWatch Logs; "Common Errors").
const AWS_CODES: [&str; 79] = [
    "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    "AWS.SimpleQueueService.BatchRequestTooLong",
    "AWS.SimpleQueueService.EmptyBatchRequest",
    "AWS.SimpleQueueService.InvalidBatchEntryId",
    "AWS.SimpleQueueService.NonExistentQueue",
    "AWS.SimpleQueueService.QueueDeletedRecently",
    "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    "AWS.SimpleQueueService.UnsupportedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong",
    "EmptyBatchRequest",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServiceException",
    "InvalidAccessKeyId",
    "InvalidAction",
    "InvalidAddress",
    "InvalidArgumentException",
    "InvalidAttributeName",
    "InvalidAttributeValue",
    "InvalidBatchEntryId",
    "InvalidClientTokenId",
    "InvalidKMSResourceException",
    "InvalidKeyId",
    "InvalidMessageContents",
    "InvalidParameterException",
    "InvalidParameterValue",
    "InvalidSecurity",
    "InvalidSignatureException",
    "InvalidSourceException",
    "KMS.AccessDeniedException",
    "KMS.DisabledException",
    "KMS.InvalidStateException",
    "KMS.NotFoundException",
    "KMS.OptInRequired",
    "KMS.ThrottlingException",
    "KmsAccessDenied",
    "KmsDisabled",
    "KmsInvalidKeyUsage",
    "KmsInvalidState",
    "KmsNotFound",
    "KmsOptInRequired",
    "KmsThrottled",
    "LimitExceededException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "MissingParameter",
    "NotAuthorized",
    "OptInRequired",
    "OverLimit",
    "ParameterNotFound",
    "QueueDeletedRecently",
    "QueueDoesNotExist",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "ResourceNotFoundException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SignatureDoesNotMatch",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyEntriesInBatchRequest",
    "TooManyRequestsException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "UnsupportedOperation",
    "ValidationError",
    "ValidationException",
];

/// An AWS error code, if it is one; else words that say that it is none. A server behind `AWS_ENDPOINT_URL` may answer
/// anything.
pub fn aws_code(code: &str) -> &'static str {
    AWS_CODES.into_iter().find(|known| *known == code).unwrap_or("an error code that is not known here")
}

/// An id that others made, such as SQS's of a message: UUIDs and the like, whose characters spell no address. Else words
/// that say that it is none.
pub fn id(id: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_id = (1..=64).contains(&id.len()) && id.bytes().all(is_plain);
    if is_id { id } else { "(not shown)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_passes() {
        for code in ["AccessDeniedException", "AWS.SimpleQueueService.NonExistentQueue"] {
            assert_eq!(aws_code(code), code);
        }
        for foreign in ["", "ana@example.org", "ana.example.org", "s3cr3tT0ken", "AccessDeniedException ana"]
        {
            assert_eq!(aws_code(foreign), "an error code that is not known here");
        }
        assert!(AWS_CODES.is_sorted());
        assert_eq!(id("059f36b4-87a3-44ab-83d2-661975830a7d"), "059f36b4-87a3-44ab-83d2-661975830a7d");
        for foreign in ["", "ana@example.org", "a b", "é", &"a".repeat(65)] {
            assert_eq!(id(foreign), "(not shown)");
        }
    }
}
