"""Transfer files and folders over SFTP."""
